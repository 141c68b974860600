-- What lists leave out; their indexes answer for it too.
ALTER TABLE "run" ADD COLUMN "archived_at" TIMESTAMPTZ(3);
ALTER TABLE "sweep" ADD COLUMN "archived_at" TIMESTAMPTZ(3);

-- DropIndex
DROP INDEX "run_created_at_id_name_status_idx";

-- DropIndex
DROP INDEX "run_status_created_at_id_idx";

-- CreateIndex
CREATE INDEX "run_created_at_id_name_status_archived_at_idx" ON "run"("created_at" DESC, "id" DESC, "name", "status", "archived_at");

-- CreateIndex
CREATE INDEX "run_status_created_at_id_archived_at_idx" ON "run"("status", "created_at" DESC, "id" DESC, "archived_at");
