-- The store that the artifacts of this database are in, as its id file names it: one row at most.
CREATE TABLE "artifact_store" (
    "only" BOOLEAN NOT NULL DEFAULT true,
    "id" UUID NOT NULL,

    CONSTRAINT "artifact_store_pkey" PRIMARY KEY ("only"),
    CONSTRAINT "artifact_store_only" CHECK ("only")
);

-- Why a worker takes no runs for now.
ALTER TABLE "worker" ADD COLUMN "impairment" TEXT;
