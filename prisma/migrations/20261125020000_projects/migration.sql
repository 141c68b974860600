-- One table at a time: a transaction that locks several of them waits for writers which wait for it. Each can be
-- repeated, so that a migration that was broken off between them is begun anew.
BEGIN;
-- CreateTable
CREATE TABLE IF NOT EXISTS "project" (
    "name" TEXT NOT NULL,
    "weight" DOUBLE PRECISION NOT NULL DEFAULT 1,
    "max_running" INTEGER,
    "gpu_seconds" DOUBLE PRECISION,
    "spent" DOUBLE PRECISION NOT NULL DEFAULT 0,
    "tag" DOUBLE PRECISION NOT NULL DEFAULT 0,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "project_pkey" PRIMARY KEY ("name")
);

INSERT INTO "project" ("name") VALUES ('default') ON CONFLICT DO NOTHING;
COMMIT;

BEGIN;
-- AlterTable
ALTER TABLE "run" ADD COLUMN IF NOT EXISTS     "project" TEXT NOT NULL DEFAULT 'default';
COMMIT;

BEGIN;
-- AlterTable
ALTER TABLE "sweep" ADD COLUMN IF NOT EXISTS     "project" TEXT NOT NULL DEFAULT 'default';
COMMIT;

BEGIN;
-- AlterTable
ALTER TABLE "attempt" ADD COLUMN IF NOT EXISTS     "charged" BOOLEAN NOT NULL DEFAULT false;

-- CreateIndex
CREATE INDEX IF NOT EXISTS "attempt_charged_idx" ON "attempt"("charged");
COMMIT;

BEGIN;
-- AlterTable
ALTER TABLE "outbox" ADD COLUMN IF NOT EXISTS     "placement" TEXT NOT NULL DEFAULT '',
ADD COLUMN IF NOT EXISTS     "project" TEXT NOT NULL DEFAULT 'default',
ADD COLUMN IF NOT EXISTS     "urgency" INTEGER NOT NULL DEFAULT 50;

-- What waits already, as `RunStore.enqueue` would write it.
UPDATE "outbox" SET "urgency" = 100 - "run"."priority",
  "placement" = CASE WHEN "run"."required_labels" = '{}' AND "run"."required_gpu" IS NULL THEN '' ELSE md5(jsonb_build_array("run"."required_labels", "run"."required_gpu")::text) END
FROM "run" WHERE "run"."id" = "outbox"."run_id";

-- DropIndex
DROP INDEX IF EXISTS "outbox_dispatched_at_not_before_idx";

-- CreateIndex
CREATE INDEX IF NOT EXISTS "outbox_dispatched_at_project_placement_urgency_run_id_idx" ON "outbox"("dispatched_at", "project", "placement", "urgency", "run_id");
COMMIT;

BEGIN;
-- AddForeignKey
ALTER TABLE "run" DROP CONSTRAINT IF EXISTS "run_project_fkey";
ALTER TABLE "run" ADD CONSTRAINT "run_project_fkey" FOREIGN KEY ("project") REFERENCES "project"("name") ON DELETE RESTRICT ON UPDATE CASCADE;
COMMIT;

BEGIN;
-- AddForeignKey
ALTER TABLE "sweep" DROP CONSTRAINT IF EXISTS "sweep_project_fkey";
ALTER TABLE "sweep" ADD CONSTRAINT "sweep_project_fkey" FOREIGN KEY ("project") REFERENCES "project"("name") ON DELETE RESTRICT ON UPDATE CASCADE;
COMMIT;
