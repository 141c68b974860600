-- How long a run's attempts may take together, and which of them count: those after the first `attempts_before`.
ALTER TABLE "run" ADD COLUMN "max_seconds" DOUBLE PRECISION,
ADD COLUMN "attempts_before" INTEGER NOT NULL DEFAULT 0;

ALTER TABLE "project" ADD COLUMN "max_seconds" DOUBLE PRECISION;

ALTER TABLE "sweep" ADD COLUMN "max_seconds" DOUBLE PRECISION;
