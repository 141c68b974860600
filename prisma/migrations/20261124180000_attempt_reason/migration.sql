-- AlterTable
ALTER TABLE "attempt" ADD COLUMN     "gpu" TEXT,
ADD COLUMN     "reason" TEXT;

