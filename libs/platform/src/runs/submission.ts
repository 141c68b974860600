import type { Plan, RunStatus, SubmitRun } from '#libs/contracts';
import type { Database, Transaction } from '../machine/database.js';
import { RequestError } from '../request-error.js';
import { admit, type Draft, type Placement } from './admission.js';
import { estimate } from './estimate.js';
import { memoryFit } from './memory-fit.js';
import { planOf } from './plan.js';
import { rememberForRepeats, resourceOfRepeat } from './repeats.js';
import type { Reuse } from './reuse.js';
import type { Rungs } from './rungs.js';
import type { Transitions } from './transitions.js';

/**
 * Runs that one statement inserts: as many as Postgres takes apart in its working memory. All at once took half as long
 * again.
 */
const INSERT_BATCH = 1000;

/** What the runs of one submit have in common, beside their specs. */
type Common = Pick<SubmitRun, 'tags' | 'project' | 'priority'> & {
  requires?: SubmitRun['requires'];
  /** Time limit of each; left out or null: the project's. */
  maxSeconds?: number | null | undefined;
};

export interface SubmissionOptions {
  /** The folder that `prepare-dataset` paths are relative to. */
  dataRoot: string;
  leaseMs: number;
  /** How long a trainer may take to stop. */
  cancelGraceMs?: number;
}

/** From a request to runs that wait. */
export class Submission {
  constructor(
    private readonly database: Database,
    private readonly transitions: Transitions,
    private readonly rungs: Rungs,
    readonly options: SubmissionOptions,
  ) {}

  /**
   * Queues a run, or attaches to an equal one, which takes the request's name if it has none. A repeat with the same
   * key returns what the first returned.
   * @throws RequestError `invalid_request` naming the fields, `idempotency_mismatch` for a key that was used for
   *   another request.
   */
  async submitRun(
    request: SubmitRun,
    idempotencyKey?: string,
  ): Promise<{ runId: string; outcome: 'created' | 'reused' | 'replayed' }> {
    return this.database.transaction(async (tx) => {
      const replayed = await resourceOfRepeat(tx, idempotencyKey, request);
      if (replayed) return { runId: replayed, outcome: 'replayed' as const };
      await this.checkProject(tx, request.project);
      const [placement] = await this.admit(tx, [draftOf(request)], { from: request.onDuplicate === 'reuse' });
      const { runId, outcome, parentIds } = placement!;
      await this.insert(tx, [placement!], request);
      if (outcome !== 'new' && request.name !== undefined) await nameUnnamed(tx, runId, request.name);
      await this.rungs.needInFull(tx, [runId, ...parentIds]);
      await this.askFor(tx, [...(outcome === 'new' ? [] : [runId]), ...parentIds]);
      await rememberForRepeats(tx, idempotencyKey, request, runId);
      return { runId, outcome: outcome === 'new' ? ('created' as const) : ('reused' as const) };
    });
  }

  /** What `submitRun` would do. */
  async planRun(request: SubmitRun): Promise<Plan> {
    const { leaseMs } = this.options;
    return this.database.transaction(async (tx) => {
      await this.checkProject(tx, request.project);
      const placements = await this.admit(tx, [draftOf(request)], { from: request.onDuplicate === 'reuse' });
      return {
        ...(await planOf(placements, 1)),
        estimate: await estimate(tx, placements, { leaseMs }),
        memory: await memoryFit(tx, placements, { leaseMs, requires: request.requires, trialOf: () => 0 }),
      };
    });
  }

  /** Places drafts without writing anything; see `admit`. */
  admit(tx: Transaction, drafts: readonly Draft[], reuse: Reuse): Promise<Placement[]> {
    return admit(tx, drafts, { dataRoot: this.options.dataRoot, reuse });
  }

  /** @throws RequestError `invalid_request` for a project that is not there. */
  async checkProject(tx: Transaction, name: string): Promise<void> {
    const projects = await tx.project.findMany({ select: { name: true }, orderBy: { name: 'asc' } });
    if (projects.some((project) => project.name === name)) return;
    const known = projects
      .slice(0, 20)
      .map((project) => project.name)
      .join(', ');
    throw RequestError.invalid([
      {
        path: ['project'],
        message:
          `expected a project that is there (${known}${projects.length > 20 ? ', …' : ''}), got ${name}: make it ` +
          `first (\`loom projects set ${name}\`)`,
      },
    ]);
  }

  /**
   * Writes the runs of those placements that are new, with their dependencies, events and outbox rows; those that are
   * `ended` wait for their parent first, and are ended like it.
   */
  async insert(tx: Transaction, placements: readonly Placement[], common: Common): Promise<void> {
    const fresh = placements.filter(isInserted);
    if (fresh.length === 0) return;
    for (let start = 0; start < fresh.length; start += INSERT_BATCH)
      await insertRuns(tx, fresh.slice(start, start + INSERT_BATCH), common);
    const dependencies = fresh.flatMap(({ runId, parentIds }) => parentIds.map((parent) => [runId, parent] as const));
    await tx.$executeRaw`
      INSERT INTO run_dependency (run_id, parent_id)
      SELECT *
      FROM unnest(
        ${dependencies.map(([id]) => id)}::uuid[],
        ${dependencies.map(([, parent]) => parent)}::uuid[])`;
    await tx.$executeRaw`
      INSERT INTO run_event (run_id, attempt, type, data)
      SELECT id, 0, 'submitted', jsonb_build_object('status', status)
      FROM unnest(
        ${fresh.map(({ runId }) => runId)}::uuid[],
        ${fresh.map(firstStatus)}::text[]) AS r(id, status)`;
    const queued = fresh.filter(({ status }) => status === 'queued').map(({ runId }) => runId);
    await this.transitions.enqueue(tx, queued);
    for (const { outcome, runId, parentIds } of fresh) {
      if (outcome !== 'ended') continue;
      const detail = `its parent run ${parentIds[0]} was stopped early`;
      await this.rungs.stopEarly(tx, runId, 'parent_early_stopped', detail);
    }
  }

  /**
   * Leaves a record that somebody asked for these by name, or for a child of theirs: no sweep that started them takes
   * them away.
   */
  private async askFor(tx: Transaction, runIds: readonly string[]): Promise<void> {
    await tx.$executeRaw`
      WITH wanted AS (
        SELECT id, attempt
        FROM run
        WHERE id = ANY(${[...runIds]}::uuid[]) AND status <> 'succeeded'
        ORDER BY id
        FOR UPDATE)
      INSERT INTO run_event (run_id, attempt, type)
      SELECT id, attempt, 'asked'
      FROM wanted
      WHERE NOT EXISTS (SELECT 1 FROM run_event e WHERE e.run_id = wanted.id AND e.type = 'asked')`;
  }
}

/** True of what a submit inserts. */
export const isInserted = ({ outcome }: Placement): boolean => outcome === 'new' || outcome === 'ended';

/** The status that an inserted run begins with. */
const firstStatus = ({ outcome, status }: Placement): RunStatus => (outcome === 'ended' ? 'pending' : status);

const draftOf = ({ spec, name }: SubmitRun): Draft => ({ spec, name, path: ['spec'] });

/** A run that people named otherwise keeps its name. */
const nameUnnamed = (tx: Transaction, runId: string, name: string): Promise<unknown> => tx.$queryRaw`
  WITH named AS (
    UPDATE run
    SET name = ${name}
    WHERE id = ${runId}::uuid AND name IS NULL
    RETURNING id)
  SELECT pg_notify('run_changed', id::text)::text
  FROM named`;

/** Rows of `run`, as one value, because a parameter for each field of each run would be too many. */
async function insertRuns(
  tx: Transaction,
  placements: readonly Placement[],
  { tags, project, priority, requires, maxSeconds }: Common,
): Promise<void> {
  const rows = placements.map((placement) => ({
    id: placement.runId,
    name: placement.name,
    kind: placement.spec.kind,
    status: firstStatus(placement),
    digest: placement.digest,
    spec: placement.spec,
    tags,
    project,
    priority,
    dataset_digest: placement.datasetDigest,
    required_labels: requires?.labels ?? {},
    required_gpu: requires?.gpu ?? null,
    max_seconds: maxSeconds ?? null,
  }));
  await tx.$executeRaw`
    INSERT INTO run (id, name, kind, status, digest, spec, tags, project, priority, dataset_digest, required_labels,
      required_gpu, max_seconds)
    SELECT id, name, kind, status, digest, spec, tags, project, priority, dataset_digest, required_labels,
      nullif(required_gpu, 'null'),
      coalesce(max_seconds, (SELECT p.max_seconds FROM project p WHERE p.name = r.project))
    FROM jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) AS r(
      id uuid, name text, kind text, status run_status, digest text, spec jsonb, tags text[], project text,
      priority int, dataset_digest text, required_labels jsonb, required_gpu jsonb, max_seconds float8)`;
}
