-- Runs that were deleted and whose points may still be there: they go in batches.
CREATE TABLE "deleted_run" (
    "id" UUID NOT NULL,
    "deleted_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "deleted_run_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE INDEX "idempotency_key_created_at_idx" ON "idempotency_key"("created_at");

-- CreateIndex
CREATE INDEX "log_line_at_idx" ON "log_line" USING BRIN ("at");

-- CreateIndex
CREATE INDEX "run_event_at_idx" ON "run_event" USING BRIN ("at");
