-- AlterTable
ALTER TABLE "run" ADD COLUMN     "required_labels" JSONB NOT NULL DEFAULT '{}';

-- AlterTable
ALTER TABLE "worker" ADD COLUMN     "gpus" JSONB NOT NULL DEFAULT '[]',
ADD COLUMN     "labels" JSONB NOT NULL DEFAULT '{}';

