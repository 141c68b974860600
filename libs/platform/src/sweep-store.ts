import { expandSweep, InvalidSweepError, type Plan, type SubmitSweep, type Trial } from '#libs/contracts';
import { randomUUIDv7 } from 'node:crypto';
import { planOf, type Draft } from './admission.js';
import { type Prisma, type Database } from './database.js';
import { RequestError } from './request-error.js';
import type { RunStore } from './run-store.js';

/** A place in a sweep that a run fills. */
interface Place { trial: Trial; stage: string; control: string | null }

/** Sweeps: all their runs are placed in one transaction, so that a sweep is there whole or not at all. */
export class SweepStore {
  constructor(private readonly database: Database, private readonly runs: RunStore) {}

  /**
   * Expands a sweep and queues what has to be run: trials that ask for the same run share it, and runs that exist are reused.
   * @throws RequestError `invalid_request` naming the fields, `idempotency_mismatch`
   */
  async submit(request: SubmitSweep, idempotencyKey?: string): Promise<{ sweepId: string; outcome: 'created' | 'replayed' }> {
    const trials = expand(request);
    return this.database.transaction(async (tx) => {
      const replayed = await this.runs.replay(tx, idempotencyKey, request);
      if (replayed) return { sweepId: replayed, outcome: 'replayed' as const };
      const { drafts, places } = draftsOf(request, trials);
      const placements = await this.runs.admit(tx, drafts, true);
      await this.runs.insert(tx, placements, request);
      const sweepId = randomUUIDv7();
      await tx.sweep.create({
        data: {
          id: sweepId, name: request.spec.name, spec: request.spec as unknown as Prisma.InputJsonObject, tags: request.tags, priority: request.priority,
          plan: planOf(placements, trials.length),
        },
      });
      const trialRows = JSON.stringify(trials.map(({ index, parameters }) => ({ index, parameters })));
      await tx.$executeRaw`
        INSERT INTO trial (sweep_id, index, parameters) SELECT ${sweepId}::uuid, index, parameters FROM jsonb_to_recordset(${trialRows}::jsonb) AS t(index int, parameters jsonb)`;
      const runRows = JSON.stringify(places.map(({ trial, stage, control }, i) => ({
        index: trial.index, stage, control: control ?? '', run_id: placements[i]!.runId, reused: placements[i]!.outcome !== 'new',
      })));
      await tx.$executeRaw`
        INSERT INTO trial_run (sweep_id, index, stage, control, run_id, reused)
        SELECT ${sweepId}::uuid, index, stage, control, run_id, reused FROM jsonb_to_recordset(${runRows}::jsonb) AS t(index int, stage text, control text, run_id uuid, reused boolean)`;
      await this.runs.remember(tx, idempotencyKey, request, sweepId);
      return { sweepId, outcome: 'created' as const };
    });
  }

  /** What `submit` would start and what it would reuse. */
  async plan(request: SubmitSweep): Promise<Plan> {
    const trials = expand(request);
    return this.database.transaction(async (tx) => planOf(await this.runs.admit(tx, draftsOf(request, trials).drafts, true), trials.length));
  }

  /**
   * Cancels those of its runs that a sweep started and no other sweep needs.
   * @throws RequestError `not_found`
   */
  async cancel(sweepId: string): Promise<void> {
    await this.database.transaction(async (tx) => {
      const sweeps = await tx.$queryRaw<unknown[]>`UPDATE sweep SET cancelled_at = coalesce(cancelled_at, now()) WHERE id = ${sweepId}::uuid RETURNING id`;
      if (sweeps.length === 0) throw new RequestError('not_found', `expected the id of a sweep, got ${sweepId}: there is no such sweep`);
      const own = await tx.$queryRaw<{ id: string }[]>`
        SELECT DISTINCT r.id FROM trial_run t JOIN run r ON r.id = t.run_id
        WHERE t.sweep_id = ${sweepId}::uuid AND r.status IN ('pending', 'queued', 'running', 'retrying', 'pausing', 'paused')
          AND EXISTS (SELECT 1 FROM trial_run origin WHERE origin.run_id = r.id AND NOT origin.reused)
          AND NOT EXISTS (SELECT 1 FROM trial_run other JOIN sweep s ON s.id = other.sweep_id WHERE other.run_id = r.id AND other.sweep_id <> t.sweep_id AND s.cancelled_at IS NULL)
        ORDER BY r.id`;
      // A child that a cancelled parent has just failed has ended already.
      for (const { id } of own) {
        try { await this.runs.cancelWithin(tx, id); } catch (error) {
          if (!(error instanceof RequestError && error.code === 'invalid_state')) throw error;
        }
      }
    });
  }
}

function expand({ spec }: SubmitSweep): Trial[] {
  try { return expandSweep(spec); } catch (error) {
    if (error instanceof InvalidSweepError) throw RequestError.invalid(error.faults.map((fault) => ({ ...fault, path: ['spec', ...fault.path] })));
    throw error;
  }
}

/** The drafts of all trials in one list; faults point at the stage, whatever parameter set the value. */
function draftsOf({ spec }: SubmitSweep, trials: readonly Trial[]): { drafts: Draft[]; places: Place[] } {
  const drafts: Draft[] = [];
  const places: Place[] = [];
  for (const trial of trials) {
    const ofStage = new Map<string, number>();
    for (const { stage, control, spec: runSpec, parentStage } of trial.runs) {
      const name = `${spec.name}-${stage}-${trial.index}${control ? `-${control}` : ''}`.slice(0, 128);
      if (!control) ofStage.set(stage, drafts.length);
      drafts.push({ spec: runSpec, name, path: ['spec', 'stages', stage], parent: parentStage ? ofStage.get(parentStage) : undefined });
      places.push({ trial, stage, control });
    }
  }
  return { drafts, places };
}
