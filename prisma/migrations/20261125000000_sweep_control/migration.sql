-- AlterTable
ALTER TABLE "run" ADD COLUMN     "stop_at_step" INTEGER;

-- AlterTable
ALTER TABLE "sweep" ADD COLUMN     "halt_reason" TEXT,
ADD COLUMN     "paused_at" TIMESTAMPTZ(3),
ADD COLUMN     "requires" JSONB NOT NULL DEFAULT '{"labels": {}}',
ADD COLUMN     "steered" BOOLEAN NOT NULL DEFAULT false;

-- AlterTable
ALTER TABLE "trial" ADD COLUMN     "draft" JSONB,
ADD COLUMN     "fault" TEXT,
ADD COLUMN     "outcome" TEXT,
ADD COLUMN     "position" INTEGER NOT NULL DEFAULT 0,
ADD COLUMN     "root" TEXT;

-- CreateIndex
CREATE INDEX "sweep_steered_idx" ON "sweep"("steered");

