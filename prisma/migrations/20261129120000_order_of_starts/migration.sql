-- When the run was submitted, by the database's clock: ids carry the clock of the API that gave them.
ALTER TABLE "outbox" ADD COLUMN "submitted_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP;

UPDATE "outbox" SET "submitted_at" = "run"."created_at"
FROM "run" WHERE "run"."id" = "outbox"."run_id";

-- CreateIndex
CREATE INDEX "outbox_line_idx" ON "outbox"("dispatched_at", "project", "placement", "urgency", "submitted_at", "run_id");

-- DropIndex
DROP INDEX "outbox_dispatched_at_project_placement_urgency_run_id_idx";
