-- DropForeignKey
ALTER TABLE "metric" DROP CONSTRAINT "metric_run_id_fkey";

-- CreateTable
CREATE TABLE "run_metric" (
    "run_id" UUID NOT NULL,
    "key" TEXT NOT NULL,
    "step" INTEGER NOT NULL,
    "value" DOUBLE PRECISION NOT NULL,

    CONSTRAINT "run_metric_pkey" PRIMARY KEY ("run_id","key")
);

-- CreateIndex
CREATE INDEX "run_metric_key_value_run_id_idx" ON "run_metric"("key", "value", "run_id");

-- CreateIndex
CREATE INDEX "run_status_created_at_id_idx" ON "run"("status", "created_at" DESC, "id" DESC);

-- DropIndex
DROP INDEX "run_created_at_id_idx";

-- CreateIndex
CREATE INDEX "run_created_at_id_name_status_idx" ON "run"("created_at" DESC, "id" DESC, "name", "status");

-- CreateIndex
CREATE INDEX "run_tags_idx" ON "run" USING GIN ("tags");

-- AddForeignKey
ALTER TABLE "run_metric" ADD CONSTRAINT "run_metric_run_id_fkey" FOREIGN KEY ("run_id") REFERENCES "run"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- The last value of what is there: of each run and key by the index, so that not every point is read.
INSERT INTO "run_metric" ("run_id", "key", "step", "value")
WITH RECURSIVE keys AS (
    SELECT run.id AS run_id, (SELECT min(key) FROM metric WHERE metric.run_id = run.id) AS key FROM run
    UNION ALL SELECT run_id, (SELECT min(metric.key) FROM metric WHERE metric.run_id = keys.run_id AND metric.key > keys.key) FROM keys WHERE keys.key IS NOT NULL)
SELECT keys.run_id, keys.key, last.step, last.value FROM keys
CROSS JOIN LATERAL (SELECT step, value FROM metric WHERE metric.run_id = keys.run_id AND metric.key = keys.key ORDER BY step DESC LIMIT 1) AS last
WHERE keys.key IS NOT NULL;
