-- What people write about a run.
ALTER TABLE "run" ADD COLUMN "notes" TEXT;
