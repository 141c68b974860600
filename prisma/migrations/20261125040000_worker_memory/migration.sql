-- AlterTable
ALTER TABLE "worker" ADD COLUMN     "memory_mib" INTEGER;

