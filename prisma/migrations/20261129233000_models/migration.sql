-- Weights that were trained elsewhere, as runs begin with them.
CREATE TABLE "model" (
    "name" TEXT NOT NULL,
    "digest" TEXT NOT NULL,
    "manifest" JSONB NOT NULL,
    "run_id" UUID NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "model_pkey" PRIMARY KEY ("name","digest")
);

-- CreateIndex
CREATE INDEX "model_name_created_at_idx" ON "model"("name", "created_at" DESC);

-- CreateIndex
CREATE INDEX "model_run_id_idx" ON "model"("run_id");

-- AddForeignKey
ALTER TABLE "model" ADD CONSTRAINT "model_run_id_fkey" FOREIGN KEY ("run_id") REFERENCES "run"("id") ON DELETE RESTRICT ON UPDATE CASCADE;
