-- A worker counts its writes: one that it repeats, because the answer to a COMMIT was lost, is not done twice.
ALTER TABLE "run" ADD COLUMN "written" INTEGER NOT NULL DEFAULT 0;
