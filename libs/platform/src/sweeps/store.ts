import {
  FAILED_STATUSES,
  faultsOf,
  isSteered,
  parallelTrialsOf,
  SweepSpec,
  type ArchivedSweep,
  type Plan,
  type Requires,
  type RetryResult,
  type SubmitSweep,
  type SweepChanges,
  type SweepRungs,
  type Trial,
} from '#libs/contracts';
import { randomUUIDv7 } from 'node:crypto';
import type { Placement } from '../runs/admission.js';
import type { Prisma, Database, Transaction } from '../machine/database.js';
import { estimate } from '../runs/estimate.js';
import { memoryFit } from '../runs/memory-fit.js';
import { rememberForRepeats, resourceOfRepeat } from '../runs/repeats.js';
import { RequestError } from '../request-error.js';
import type { Runs } from '../runs/runs.js';
import { expand, planFor } from './expansion.js';
import { SweepController } from './steering.js';
import { SWEEP_STATUS } from './status.js';
import { lockSweep, noSuchSweep, type SweepRow } from './sweep-row.js';
import { draftsOf, type Places } from './trials.js';

/** What people ask of sweeps. A sweep is there whole or not at all: its trials are placed in one transaction. */
export class SweepStore {
  private readonly controller: SweepController;

  constructor(
    private readonly database: Database,
    private readonly runs: Runs,
  ) {
    this.controller = new SweepController(database, runs);
  }

  /**
   * Expands a sweep and queues what has to be run: trials that ask for the same run share it, and runs that exist are
   * reused.
   * Where only so many trials may be under way at once, the others wait in Postgres.
   * @throws RequestError `invalid_request` naming the fields, `idempotency_mismatch`
   */
  async submit(
    request: SubmitSweep,
    idempotencyKey?: string,
  ): Promise<{ sweepId: string; outcome: 'created' | 'replayed' }> {
    const trials = await expand(request.spec);
    return this.database.transaction(async (tx) => {
      const replayed = await resourceOfRepeat(tx, idempotencyKey, request);
      if (replayed) return { sweepId: replayed, outcome: 'replayed' as const };
      const { spec, tags, project, priority } = request;
      await this.runs.submission.checkProject(tx, project);
      const { places, placements } = await this.admit(tx, spec, trials);
      const sweepId = randomUUIDv7();
      const { requires = { labels: {} }, maxSeconds = null } = request;
      await tx.sweep.create({
        data: {
          id: sweepId,
          name: spec.name,
          spec: spec as unknown as Prisma.InputJsonObject,
          tags,
          project,
          priority,
          requires,
          maxSeconds,
          steered: isSteered(spec),
          plan: await planFor(spec, placements, trials.length),
        },
      });
      const held = parallelTrialsOf(spec) < Number.POSITIVE_INFINITY;
      await this.controller.trials.write(tx, sweepId, spec, places, placements, { held });
      if (held) await this.controller.steer(tx, sweepId);
      else
        await this.controller.trials.place(
          tx,
          { id: sweepId, spec, tags, project, priority, requires, maxSeconds },
          places,
          placements,
        );
      await rememberForRepeats(tx, idempotencyKey, request, sweepId);
      return { sweepId, outcome: 'created' as const };
    });
  }

  /** What `submit` would start and what it would reuse. */
  async plan({ spec, project, requires }: SubmitSweep): Promise<Plan> {
    const trials = await expand(spec);
    return this.database.transaction(async (tx) => {
      await this.runs.submission.checkProject(tx, project);
      const { places, placements } = await this.admit(tx, spec, trials);
      return {
        ...(await planFor(spec, placements, trials.length)),
        estimate: await estimate(tx, placements, {
          leaseMs: this.runs.submission.options.leaseMs,
          sweep: spec,
          trials: trials.length,
        }),
        memory: await memoryFit(tx, placements, {
          leaseMs: this.runs.submission.options.leaseMs,
          requires,
          trialOf: (i) => places.places[i]!.trial.index,
        }),
      };
    });
  }

  private async admit(
    tx: Transaction,
    spec: SweepSpec,
    trials: readonly Trial[],
  ): Promise<{ places: Places; placements: Placement[] }> {
    const places = await draftsOf(spec, trials);
    const placements = await this.controller.trials.admit(tx, spec, places.drafts);
    if (spec.on_duplicate === 'reject') {
      const ofTrial = Map.groupBy(
        places.places.map(({ trial }, i) => ({ index: trial.index, placement: placements[i]! })),
        ({ index }) => index,
      );
      const known = [...ofTrial].find(([, runs]) => runs.every(({ placement }) => placement.outcome !== 'new'));
      if (known)
        throw RequestError.invalid([
          {
            path: ['spec', 'on_duplicate'],
            message:
              `expected trials that are new, but all runs of trial ${known[0]} are there already ` +
              `(${known[1].map(({ placement }) => placement.runId).join(', ')}): reuse them, or replicate`,
          },
        ]);
    }
    return { places, placements };
  }

  /** What early stopping has seen so far; null where nothing is stopped early. @throws RequestError `not_found` */
  rungs(sweepId: string): Promise<SweepRungs | null> {
    return this.controller.stopping.rungs(this.database, sweepId);
  }

  /**
   * Cancels those of its runs that a sweep started and no other sweep needs and nobody has asked for by name, and
   * starts no other.
   * @throws RequestError `not_found`; `invalid_state` for a sweep that has ended otherwise.
   */
  async cancel(sweepId: string): Promise<void> {
    await this.database.transaction(async (tx) => {
      const sweep = await lockSweep(tx, sweepId);
      if (!sweep.cancelledAt) await checkNotEnded(tx, sweep);
      await tx.$executeRaw`
        UPDATE sweep
        SET cancelled_at = coalesce(cancelled_at, now()), steered = false
        WHERE id = ${sweepId}::uuid`;
      await this.controller.ownRuns.cancel(tx, sweepId);
    });
  }

  /**
   * Starts no other trial, and pauses the runs that the sweep started and that neither another sweep needs nor anybody
   * has asked for by name.
   * @throws RequestError `not_found`; `invalid_state` for a sweep that has ended or was cancelled.
   */
  async pause(sweepId: string): Promise<void> {
    await this.database.transaction(async (tx) => {
      const sweep = await lockSweep(tx, sweepId);
      if (sweep.cancelledAt)
        throw new RequestError('invalid_state', 'expected a sweep that is running, got one that is cancelled');
      if (sweep.pausedAt) return;
      await checkNotEnded(tx, sweep);
      await tx.$executeRaw`UPDATE sweep SET paused_at = now() WHERE id = ${sweepId}::uuid`;
      await this.controller.ownRuns.pause(tx, sweepId);
    });
  }

  /**
   * Goes on with a paused sweep: its runs from their checkpoints, its other trials as they come.
   * @throws RequestError `not_found`; `invalid_state` for a sweep that is not paused.
   */
  async resume(sweepId: string): Promise<void> {
    await this.database.transaction(async (tx) => {
      const sweep = await lockSweep(tx, sweepId);
      if (!sweep.pausedAt || sweep.cancelledAt)
        throw new RequestError(
          'invalid_state',
          `expected a sweep that is paused, got one that is ${sweep.cancelledAt ? 'cancelled' : 'not'}`,
        );
      await this.goOn(tx, sweepId);
    });
  }

  private async goOn(tx: Transaction, sweepId: string): Promise<void> {
    await tx.$executeRaw`UPDATE sweep SET paused_at = NULL, halt_reason = NULL WHERE id = ${sweepId}::uuid`;
    await this.controller.ownRuns.resume(tx, sweepId);
  }

  /**
   * Changes limits of a sweep while it runs. A sweep that had paused for its budget goes on where the new one allows
   * it, and one that had come to its end takes up trials that a higher `run_cap` brings.
   * @throws RequestError `not_found`; `invalid_request` naming the fields; `invalid_state` for a sweep that was
   *   cancelled.
   */
  async change(sweepId: string, changes: SweepChanges): Promise<void> {
    await this.database.transaction(async (tx) => {
      const sweep = await lockSweep(tx, sweepId);
      if (sweep.cancelledAt)
        throw new RequestError('invalid_state', 'expected a sweep that is running, got one that is cancelled');
      const before = sweep.spec;
      const spec = { ...before };
      for (const key of ['parallel_trials', 'run_cap', 'max_failed_trials', 'budget'] as const) {
        const value = changes[key];
        if (value === null) delete spec[key];
        else if (value !== undefined) Object.assign(spec, { [key]: value });
      }
      // A higher cap of a random search adds draws; those before it stay the same, for they come from one seed.
      if (before.method === 'random' && spec.run_cap! > before.run_cap!) await this.addTrials(tx, sweepId, spec);
      const halted = sweep.haltReason === 'max_failed_trials' && changes.max_failed_trials !== undefined;
      await tx.$executeRaw`
        UPDATE sweep
        SET spec = ${JSON.stringify(spec)}::jsonb, steered = true, archived_at = NULL,
          halt_reason = CASE WHEN ${halted} THEN NULL ELSE halt_reason END
        WHERE id = ${sweepId}::uuid`;
      if (changes.budget !== undefined && sweep.haltReason?.startsWith('budget')) await this.goOn(tx, sweepId);
      await this.controller.steer(tx, sweepId);
    });
  }

  private async addTrials(tx: Transaction, sweepId: string, spec: SweepSpec): Promise<void> {
    const count = await tx.trial.count({ where: { sweepId } });
    const added = (await expand(spec)).filter(({ index }) => index >= count);
    if (added.length === 0) return;
    const { places, placements } = await this.admit(tx, spec, added);
    await this.controller.trials.write(tx, sweepId, spec, places, placements, { firstPosition: count });
  }

  /**
   * Queues again exactly the runs of a sweep that failed, parents first, and the trials that were not started for it.
   * @throws RequestError `not_found`; `invalid_state` for a sweep that was cancelled.
   */
  async retry(sweepId: string): Promise<RetryResult> {
    await this.database.transaction(async (tx) => {
      const sweep = await lockSweep(tx, sweepId);
      if (sweep.cancelledAt)
        throw new RequestError('invalid_state', 'expected a sweep that is running, got one that is cancelled');
      await tx.$executeRaw`
        UPDATE sweep
        SET archived_at = NULL,
          halt_reason = CASE WHEN halt_reason = 'max_failed_trials' THEN NULL ELSE halt_reason END
        WHERE id = ${sweepId}::uuid`;
      await tx.$executeRaw`
        UPDATE trial
        SET outcome = NULL, fault = NULL
        WHERE sweep_id = ${sweepId}::uuid AND outcome = 'refused' AND draft IS NOT NULL`;
    });
    const total: RetryResult = { done: 0, skipped: {} };
    for (let cursor: string | undefined; ;) {
      const part = await this.runs.bulk.bulk({
        action: 'retry',
        filter: { sweep: sweepId, status: [...FAILED_STATUSES], kind: undefined },
        cursor,
      });
      total.done += part.done;
      for (const [reason, count] of Object.entries(part.skipped))
        total.skipped[reason] = (total.skipped[reason] ?? 0) + count;
      if (part.nextCursor === null) break;
      cursor = part.nextCursor;
    }
    // From here on the controller counts what failed anew.
    await this.database.prisma.$executeRaw`
      UPDATE sweep
      SET steered = true
      WHERE id = ${sweepId}::uuid
        AND EXISTS (SELECT 1 FROM trial WHERE sweep_id = ${sweepId}::uuid AND root IS NOT NULL)`;
    return total;
  }

  /**
   * Lists leave the sweep out from now on, and with `runs` those of its own runs that no other sweep has and nobody has
   * asked for by name. Nothing else changes. A repeat goes on where an interrupted one ended.
   * @throws RequestError `not_found`; `invalid_state` for a sweep that goes on.
   */
  async archive(sweepId: string, { runs }: { runs: boolean }): Promise<ArchivedSweep> {
    await this.database.transaction(async (tx) => {
      await lockSweep(tx, sweepId);
      // A retry of one of them that has begun is waited for, and one that begins waits.
      await tx.$executeRaw`
        SELECT 1
        FROM run
        WHERE id IN (SELECT run_id FROM trial_run WHERE sweep_id = ${sweepId}::uuid)
        ORDER BY id
        FOR SHARE`;
      const status = await statusOf(tx, sweepId);
      if (!hasEnded(status))
        throw new RequestError(
          'invalid_state',
          `expected a sweep that has ended, got one that is ${status}: what goes on is not archived, cancel it first`,
        );
      await tx.$executeRaw`
        UPDATE sweep
        SET archived_at = coalesce(archived_at, now())
        WHERE id = ${sweepId}::uuid`;
    });
    return { runs: runs ? await this.controller.ownRuns.archive(this.database, sweepId, true) : 0 };
  }

  /** Lists have the sweep again, and with `runs` all of its runs. @throws RequestError `not_found` */
  async unarchive(sweepId: string, { runs }: { runs: boolean }): Promise<ArchivedSweep> {
    await this.database.transaction(async (tx) => {
      await lockSweep(tx, sweepId);
      await tx.$executeRaw`UPDATE sweep SET archived_at = NULL WHERE id = ${sweepId}::uuid`;
    });
    return { runs: runs ? await this.controller.ownRuns.archive(this.database, sweepId, false) : 0 };
  }

  /**
   * Submits the spec of a sweep again, changed at the top as asked: what has run to its end is reused, and so is what
   * was stopped early where the same trials are judged by the same rule; else it is trained anew, as the plan says.
   * @throws RequestError as `submit`, `not_found`
   */
  async clone(
    sweepId: string,
    changes: Record<string, unknown>,
    idempotencyKey?: string,
  ): Promise<{ sweepId: string; outcome: 'created' | 'replayed' }> {
    const sweep = await this.database.prisma.sweep.findUnique({ where: { id: sweepId } });
    if (!sweep) throw noSuchSweep(sweepId);
    const spec = SweepSpec.safeParse({ ...(sweep.spec as object), ...changes }, { reportInput: true });
    if (!spec.success)
      throw RequestError.invalid(
        spec.error.issues.flatMap(faultsOf).map((fault) => ({ ...fault, path: ['changes', ...fault.path] })),
      );
    return this.submit(
      {
        spec: spec.data,
        tags: sweep.tags,
        project: sweep.project,
        priority: sweep.priority,
        requires: sweep.requires as Requires,
        ...(sweep.maxSeconds !== null && { maxSeconds: sweep.maxSeconds }),
      },
      idempotencyKey,
    );
  }
}

async function statusOf(tx: Transaction, id: string): Promise<string | undefined> {
  const [sweep] = await tx.$queryRaw<{ status: string }[]>`
    SELECT ${SWEEP_STATUS} AS status
    FROM sweep
    WHERE id = ${id}::uuid`;
  return sweep?.status;
}
const hasEnded = (status: string | undefined): boolean => status !== 'running' && status !== 'paused';

/** @throws RequestError `invalid_state` for a sweep that has come to its end: that is not changed by what is asked. */
async function checkNotEnded(tx: Transaction, { id }: SweepRow): Promise<void> {
  const status = await statusOf(tx, id);
  if (hasEnded(status))
    throw new RequestError('invalid_state', `expected a sweep that has not ended, got one that is ${status}`);
}
