-- Keys of submits are a project's own. Those that are there belong to the project of what they stand for.
ALTER TABLE "idempotency_key" ADD COLUMN "project" TEXT NOT NULL DEFAULT 'default';

UPDATE "idempotency_key"
SET "project" = coalesce(
  (SELECT "project" FROM "run" WHERE "id" = "resource_id"),
  (SELECT "project" FROM "sweep" WHERE "id" = "resource_id"),
  'default');

ALTER TABLE "idempotency_key" DROP CONSTRAINT "idempotency_key_pkey",
ADD CONSTRAINT "idempotency_key_pkey" PRIMARY KEY ("project", "key");

-- What is written to see whether anything can be.
CREATE TABLE "readiness" (
    "written_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "readiness_pkey" PRIMARY KEY ("written_at")
);
