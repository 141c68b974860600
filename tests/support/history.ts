/**
 * What happened to runs, as the database and the artifact folder tell it, and a checker of what must hold whatever went
 * wrong.
 */
import { canMove, isTerminal, type RunStatus } from '#libs/contracts';
import { ArtifactStore } from '#libs/platform';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import pg from 'pg';

/** From one time to another, in milliseconds. */
export interface Span {
  from: number;
  until: number;
}

/** What is in the store under a sha256. */
interface StoredBytes {
  sha256: string;
  sizeBytes: number;
}

export interface RunHistory {
  id: string;
  status: RunStatus;
  attempt: number;
  totalSteps: number | null;
  attempts: ({ attempt: number; outcome: string | null; ended: boolean; workerId: string } & Span)[];
  /** In the order in which they were written, as are metrics and lines. `said`: its data without the id in it. */
  events: { attempt: number; type: string; status: RunStatus | null; by: string | null; said?: string }[];
  metrics: { key: string; step: number; attempt: number }[];
  lines: { attempt: number; message?: string }[];
  /** What their rows say, and what there is in the store; null: no such file. */
  artifacts: ({ name: string; attempt: number; step: number | null; file: StoredBytes | null } & StoredBytes)[];
  /** When it was queued and any worker would do: no pause before a repeat, and no waiting for parents. */
  waits: Span[];
}

/** A worker, from when it was there to when Postgres heard it last. */
export interface WorkerHistory extends Span {
  id: string;
  slots: number;
}

/** What is in the store, read by nobody's code but this. */
async function bytesAt(file: string): Promise<StoredBytes | null> {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  try {
    for await (const piece of createReadStream(file) as AsyncIterable<Buffer>) {
      hash.update(piece);
      sizeBytes += piece.length;
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  return { sha256: hash.digest('hex'), sizeBytes };
}

/** Connects for as long as `work` reads; `rows` runs a statement. */
async function reading<Result>(
  databaseUrl: string,
  work: (rows: <Row>(sql: string, ...values: unknown[]) => Promise<Row[]>) => Promise<Result>,
): Promise<Result> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    return await work(
      async <Row>(sql: string, ...values: unknown[]) => (await client.query(sql, values)).rows as Row[],
    );
  } finally {
    await client.end();
  }
}

const milliseconds = (time: string) => `(extract(epoch FROM ${time}) * 1000)::float8`;
const STATUS_EVENTS = "('submitted', 'status')";
const ATTEMPTS = `
  SELECT
    attempt,
    outcome,
    ended_at IS NOT NULL AS ended,
    worker_id AS "workerId",
    ${milliseconds('started_at')} AS "from",
    ${milliseconds('coalesce(ended_at, now())')} AS until
  FROM attempt
  WHERE run_id = $1
  ORDER BY attempt`;
const WAITS = `
  SELECT ${milliseconds('at')} AS "from", ${milliseconds('coalesce(next, now())')} AS until
  FROM (
    SELECT at, data->>'status' AS status, lead(at) OVER (ORDER BY id) AS next
    FROM run_event
    WHERE run_id = $1 AND type IN ${STATUS_EVENTS}) AS told
  WHERE status = 'queued'
    AND EXISTS (SELECT 1 FROM run WHERE id = $1 AND required_labels = '{}' AND required_gpu IS NULL)`;
const WORKERS = `
  SELECT id, slots, ${milliseconds('started_at')} AS "from", ${milliseconds('heartbeat_at')} AS until
  FROM worker`;

/** All workers that there were. */
export const readWorkers = (databaseUrl: string): Promise<WorkerHistory[]> =>
  reading(databaseUrl, (rows) => rows<WorkerHistory>(WORKERS));

/** The history of these runs, or of all that there are. */
export async function readHistory(
  databaseUrl: string,
  artifactsDir: string,
  ids?: readonly string[],
): Promise<RunHistory[]> {
  const store = new ArtifactStore(artifactsDir);
  return reading(databaseUrl, async (rows) => {
    const runs = await rows<Pick<RunHistory, 'id' | 'status' | 'attempt' | 'totalSteps'>>(
      'SELECT id, status::text AS status, attempt, total_steps AS "totalSteps" FROM run WHERE $1::uuid[] IS NULL ' +
        'OR id = ANY($1) ORDER BY id',
      ids ?? null,
    );
    const histories: RunHistory[] = [];
    for (const run of runs) {
      const artifacts = await rows<Omit<RunHistory['artifacts'][number], 'file'>>(
        'SELECT name, attempt, step, sha256, size_bytes::float8 AS "sizeBytes" FROM artifact WHERE run_id = $1',
        run.id,
      );
      histories.push({
        ...run,
        attempts: await rows(ATTEMPTS, run.id),
        events: await rows(
          `SELECT attempt, type, data->>'status' AS status, data->>'by' AS by, (data - 'id')::text AS said ` +
            'FROM run_event WHERE run_id = $1 ORDER BY id',
          run.id,
        ),
        metrics: await rows('SELECT key, step, attempt FROM metric WHERE run_id = $1 ORDER BY seq', run.id),
        lines: await rows('SELECT attempt, message FROM log_line WHERE run_id = $1 ORDER BY id', run.id),
        artifacts: await Promise.all(
          artifacts.map(async (row) => ({ ...row, file: await bytesAt(store.path(row.sha256)) })),
        ),
        waits: await rows(WAITS, run.id),
      });
    }
    return histories;
  });
}

const firstFall = (numbers: readonly number[]): number =>
  numbers.findIndex((each, i) => i > 0 && each < numbers[i - 1]!);

/**
 * What is wrong with these histories, a sentence each; none in a system that keeps its promises. `accepted` are the
 * runs whose submission was acknowledged; `curve` is a key that a succeeded run has at every step.
 */
export function violations(
  histories: readonly RunHistory[],
  accepted: readonly string[],
  curve = 'train/loss',
): string[] {
  const known = new Set(histories.map(({ id }) => id));
  return [
    ...accepted.filter((id) => !known.has(id)).map((id) => `run ${id} was accepted and is gone`),
    ...histories.flatMap((run) =>
      [...ofStatus(run), ...ofAttempts(run), ...ofWrites(run, curve), ...ofDoubles(run)].map(
        (fault) => `run ${run.id} ${fault}`,
      ),
    ),
  ];
}

function* ofStatus({ status, events }: RunHistory): Generator<string> {
  if (!isTerminal(status)) yield `has not ended: it is ${status}`;
  const moves = events.filter((event) => event.type === 'submitted' || event.type === 'status');
  for (const [i, { status: next, by }] of moves.entries()) {
    const previous = moves[i - 1]?.status;
    if (!previous) continue;
    if (!canMove(previous, next!)) yield `went from ${previous} to ${next}`;
    if (isTerminal(previous) && previous !== 'upstream_failed' && by !== 'retry')
      yield `had ended as ${previous} and became ${next}`;
  }
  if (moves.at(-1)?.status !== status) yield `is ${status}, and its last event says ${moves.at(-1)?.status}`;
}

function* ofAttempts({ status, attempt, attempts }: RunHistory): Generator<string> {
  if (attempts.some((each, i) => each.attempt !== i + 1) || attempts.length !== attempt)
    yield `is at attempt ${attempt} and has had ${attempts.map((each) => each.attempt).join(', ')}`;
  for (const each of attempts) if (!each.ended) yield `has attempt ${each.attempt} that never ended`;
  const successes = attempts.filter(({ outcome }) => outcome === 'succeeded').length;
  if (successes !== (status === 'succeeded' ? 1 : 0)) yield `is ${status} with ${successes} successful attempts`;
}

function* ofWrites(
  { status, totalSteps, events, metrics, lines, artifacts }: RunHistory,
  curve: string,
): Generator<string> {
  for (const [what, rows] of Object.entries({ event: events, metric: metrics, 'log line': lines })) {
    const at = firstFall(rows.map(({ attempt }) => attempt));
    if (at > 0) yield `has a ${what} of attempt ${rows[at]!.attempt} after one of attempt ${rows[at - 1]!.attempt}`;
  }
  const seen = new Set<string>();
  for (const { key, step } of metrics) {
    if (seen.has(`${key} ${step}`)) yield `has two values of ${key} at step ${step}`;
    seen.add(`${key} ${step}`);
  }
  const steps = metrics
    .filter(({ key }) => key === curve)
    .map(({ step }) => step)
    .sort((a, b) => a - b);
  if (status === 'succeeded' && steps.length > 0) {
    const gap = steps.findIndex((step, i) => step !== i + 1);
    if (gap >= 0) yield `lacks ${curve} at step ${gap + 1}`;
    else if (steps.length !== totalSteps) yield `has ${curve} at ${steps.length} of ${totalSteps} steps`;
  }
  for (const { name, sha256, sizeBytes, file } of artifacts) {
    if (!file) yield `has artifact ${name} whose file is missing`;
    else if (file.sha256 !== sha256 || file.sizeBytes !== sizeBytes)
      yield `has artifact ${name} whose file is not what its row says`;
  }
}

/**
 * What an attempt writes it writes once, however often the answer to its COMMIT was lost; and what two attempts have
 * made alike is there once.
 */
function* ofDoubles({ events, lines, artifacts }: RunHistory): Generator<string> {
  const at = (step: number | null) => (step === null ? '' : ` at step ${step}`);
  const written = [
    ...artifacts.map(({ attempt, name, step }) => `artifact ${name}${at(step)} of attempt ${attempt}`),
    ...artifacts.map(({ name, step, sha256 }) => `artifact ${name}${at(step)} of sha256 ${sha256.slice(0, 12)}`),
    ...events.flatMap(({ attempt, type, said }) =>
      type === 'status' || said === undefined ? [] : [`event ${type} ${said} of attempt ${attempt}`],
    ),
    ...lines.flatMap(({ attempt, message }) =>
      message === undefined ? [] : [`log line ${JSON.stringify(message)} of attempt ${attempt}`],
    ),
  ];
  const seen = new Set<string>();
  for (const each of written) {
    if (seen.has(each)) yield `has twice ${each}`;
    seen.add(each);
  }
}

/** The pieces of time of a worker in which it had a slot free, by the attempts that it held. */
function freeSpans({ id, slots, from, until }: WorkerHistory, histories: readonly RunHistory[]): Span[] {
  const changes = histories
    .flatMap(({ attempts }) => attempts)
    .filter(({ workerId }) => workerId === id)
    .flatMap((attempt) => [
      { at: attempt.from, by: 1 },
      { at: attempt.until, by: -1 },
    ])
    .sort((a, b) => a.at - b.at || a.by - b.by);
  const spans: Span[] = [];
  let held = 0;
  let since = from;
  for (const { at, by } of [...changes, { at: until, by: 0 }]) {
    if (held < slots && at > since) spans.push({ from: since, until: Math.min(at, until) });
    held += by;
    since = Math.max(since, at);
  }
  return spans.filter((span) => span.until > span.from);
}

/** Spans that touch or overlap as one. */
function joined(spans: readonly Span[]): Span[] {
  const all: Span[] = [];
  for (const span of spans.toSorted((a, b) => a.from - b.from)) {
    const last = all.at(-1);
    if (last && span.from <= last.until) last.until = Math.max(last.until, span.until);
    else all.push({ ...span });
  }
  return all;
}

/**
 * Runs that could start and have waited for longer than this, a sentence each: queued, while a worker that was alive
 * had a slot free all the time. What Postgres can't tell, that a worker could take nothing (it was starting, stopped,
 * without a store or without Redis), is what the bound has to leave room for.
 */
export function overdue(
  histories: readonly RunHistory[],
  workers: readonly WorkerHistory[],
  longestMs: number,
): string[] {
  const free = joined(workers.flatMap((worker) => freeSpans(worker, histories)));
  return histories.flatMap(({ id, waits }) =>
    waits.flatMap((wait) =>
      free
        .map((span) => Math.min(span.until, wait.until) - Math.max(span.from, wait.from))
        .filter((ms) => ms > longestMs)
        .map((ms) => `run ${id} waited for ${(ms / 1000).toFixed(1)} s while a worker had a slot free`),
    ),
  );
}
