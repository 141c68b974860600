-- AlterTable
ALTER TABLE "attempt" ADD COLUMN     "gpu" TEXT,
ADD COLUMN     "reason" TEXT;

-- AlterTable
ALTER TABLE "run" ADD COLUMN     "required_gpu" JSONB;

