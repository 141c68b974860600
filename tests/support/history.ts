/**
 * What happened to runs, as the database and the artifact folder tell it, and a checker of what must hold whatever went
 * wrong.
 */
import { canMove, isTerminal, type RunStatus } from '#libs/contracts';
import { ArtifactStore } from '#libs/platform';
import pg from 'pg';

export interface RunHistory {
  id: string;
  status: RunStatus;
  attempt: number;
  totalSteps: number | null;
  attempts: { attempt: number; outcome: string | null; ended: boolean }[];
  /** In the order in which they were written, as are metrics and lines. `said`: its data without the id in it. */
  events: { attempt: number; type: string; status: RunStatus | null; by: string | null; said?: string }[];
  metrics: { key: string; step: number; attempt: number }[];
  lines: { attempt: number; message?: string }[];
  /** `whole`: the file in the store has the sha256 of its row. */
  artifacts: { name: string; attempt: number; whole: boolean }[];
}

/** The history of these runs, or of all that there are. */
export async function readHistory(
  databaseUrl: string,
  artifactsDir: string,
  ids?: readonly string[],
): Promise<RunHistory[]> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  const artifacts = new ArtifactStore(artifactsDir);
  const rows = async <Row>(sql: string, ...values: unknown[]): Promise<Row[]> =>
    (await client.query(sql, values)).rows as Row[];
  try {
    const runs = await rows<Pick<RunHistory, 'id' | 'status' | 'attempt' | 'totalSteps'>>(
      'SELECT id, status::text AS status, attempt, total_steps AS "totalSteps" FROM run WHERE $1::uuid[] IS NULL ' +
        'OR id = ANY($1) ORDER BY id',
      ids ?? null,
    );
    const histories: RunHistory[] = [];
    for (const run of runs) {
      const stored = await rows<{ name: string; attempt: number; sha256: string }>(
        'SELECT name, attempt, sha256 FROM artifact WHERE run_id = $1',
        run.id,
      );
      histories.push({
        ...run,
        attempts: await rows(
          'SELECT attempt, outcome, ended_at IS NOT NULL AS ended FROM attempt WHERE run_id = $1 ORDER BY attempt',
          run.id,
        ),
        events: await rows(
          `SELECT attempt, type, data->>'status' AS status, data->>'by' AS by, (data - 'id')::text AS said ` +
            'FROM run_event WHERE run_id = $1 ORDER BY id',
          run.id,
        ),
        metrics: await rows('SELECT key, step, attempt FROM metric WHERE run_id = $1 ORDER BY seq', run.id),
        lines: await rows('SELECT attempt, message FROM log_line WHERE run_id = $1 ORDER BY id', run.id),
        artifacts: await Promise.all(
          stored.map(async ({ name, attempt, sha256 }) => ({
            name,
            attempt,
            whole: await artifacts.verified(sha256).then(
              () => true,
              () => false,
            ),
          })),
        ),
      });
    }
    return histories;
  } finally {
    await client.end();
  }
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
  for (const { name, whole } of artifacts) if (!whole) yield `has artifact ${name} whose file is not what its row says`;
}

/** What an attempt writes it writes once, however often the answer to its COMMIT was lost. */
function* ofDoubles({ events, lines, artifacts }: RunHistory): Generator<string> {
  const written = [
    ...artifacts.map(({ attempt, name }) => `artifact ${name} of attempt ${attempt}`),
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
