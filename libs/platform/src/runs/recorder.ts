import { randomUUID } from 'node:crypto';
import { mapTexts, storableText, type LogLevel, type MetricPoint } from '#libs/contracts';
import { codeOf, Prisma, type Database, type Transaction } from '../machine/database.js';
import { held, LeaseLostError, type Token } from './token.js';

/** Checkpoints of an attempt that are kept where its spec does not say how many. */
const KEPT_CHECKPOINTS = 2;
/** Most keys of a run whose last values are kept: so the size of a list of runs is bounded. */
const MOST_LAST_VALUES = 1000;
/** What Postgres says where a row is there already. */
const UNIQUE_VIOLATION = '23505';

export interface NewArtifact {
  name: string;
  kind: string;
  mime: string;
  sha256: string;
  sizeBytes: number;
  step: number | null;
}

export interface Progress {
  step?: { step: number; totalSteps: number } | undefined;
  points?: readonly MetricPoint[];
  lines?: readonly { level: LogLevel; message: string }[];
  events?: readonly { type: string; data: Record<string, unknown> }[];
}

/**
 * Which write of an attempt this is, counted from 1 by whoever may have to repeat it: where the answer to a COMMIT is
 * lost nobody knows whether it was done, and a write with a number that is there already does nothing.
 */
export type WriteNumber = number | undefined;

/** What a run says while it is worked on: every write is fenced by the token of its attempt. */
export class Recorder {
  constructor(private readonly database: Database) {}

  /**
   * Begins training at the checkpoint's step (null: from the start). What a dead attempt recorded beyond it is
   * superseded, and last values are those of what stays.
   * @throws LeaseLostError
   */
  async begin(token: Token, checkpointStep: number | null, trainerPid: number): Promise<void> {
    const rows = await this.database.prisma.$queryRaw<unknown[]>(beginAt(token, checkpointStep, trainerPid));
    if (rows.length === 0) throw new LeaseLostError(token);
  }

  /**
   * Progress, metrics with their last values, log lines and events in one fenced statement. A value for a key and step
   * that is there already replaces it.
   * @throws LeaseLostError
   */
  async record(token: Token, progress: Progress, write?: WriteNumber): Promise<void> {
    const { prisma } = this.database;
    const attempt = (hopeful: boolean) => prisma.$queryRaw<unknown[]>(recorded(token, progress, write, hopeful));
    const rows = await attempt(true).catch((error: unknown) => {
      // The same points came twice at one moment: this time they are looked for.
      if (codeOf(error) !== UNIQUE_VIOLATION) throw error;
      return attempt(false);
    });
    if (rows.length === 0) await checkWritten(prisma, token, write);
  }

  /**
   * Makes a file visible that is in the artifact store already. Of checkpoints the newest few stay visible, the newest
   * of those that were the best, and those that another run names. Returns its id; null where the write was done
   * before, or an earlier attempt has made the same: it is there once.
   * @throws LeaseLostError
   */
  async addArtifact(token: Token, artifact: NewArtifact, write?: WriteNumber): Promise<string | null> {
    return this.database.transaction(async (tx) => {
      const id = randomUUID();
      const rows = await tx.$queryRaw<{ added: boolean }[]>(artifactAdded(token, id, artifact, write));
      if (rows.length === 0) {
        await checkWritten(tx, token, write);
        return null;
      }
      if (artifact.kind === 'checkpoint') await tx.$executeRaw(surplusCheckpointsForgotten(token.runId));
      return rows[0]!.added ? id : null;
    });
  }
}

/**
 * What a run used of its machine (`isUsage` of the contracts). No last values of it are kept: runs are not told apart,
 * sorted or chosen by it. It is of what was, and stays when another attempt goes on from an earlier step.
 */
const isUsage = (key: 'metric.key' | 'keys.key' | 'known.key') =>
  Prisma.sql`starts_with(${Prisma.raw(key)}, 'system/')`;

/** A fence that a write passes once: the token holds, and no write of this number, or a later one, is there. */
const heldFor = (token: Token, write: WriteNumber) =>
  write === undefined ? held(token) : Prisma.sql`${held(token)} AND run.written < ${write}`;
/** Where a fence is passed, its number is taken. */
const counted = (write: WriteNumber) => Prisma.sql`written = ${write === undefined ? Prisma.sql`written` : write}`;

/**
 * Whoever did not pass the fence has either written before, or lost the lease.
 * @throws LeaseLostError
 */
async function checkWritten(tx: Transaction, token: Token, write: WriteNumber): Promise<void> {
  const rows =
    write === undefined
      ? []
      : await tx.$queryRaw<unknown[]>`SELECT id FROM run WHERE ${held(token)} AND written >= ${write}`;
  if (rows.length === 0) throw new LeaseLostError(token);
}

/**
 * An attempt that begins at a step: points beyond it are gone, and the last value of each key is read anew from what
 * stays, by the index and not by the points. What others have posted for this attempt before it began stays. One
 * statement, so that no reader sees last values of points that are gone, and none is deleted for an attempt that has
 * lost its lease.
 */
function beginAt(token: Token, checkpointStep: number | null, trainerPid: number): Prisma.Sql {
  const step = checkpointStep ?? 0;
  const beyond = checkpointStep ?? -1;
  const ofRun = Prisma.sql`metric.run_id = ${token.runId}::uuid`;
  return Prisma.sql`
    WITH RECURSIVE fence AS (
        UPDATE run SET step = ${step}, progress_at = now()
        WHERE ${held(token)}
        RETURNING id),
      superseded AS (
        DELETE FROM metric
        USING fence
        WHERE metric.run_id = fence.id AND metric.step > ${beyond} AND metric.attempt < ${token.attempt}
          AND NOT ${isUsage('metric.key')}),
      keys AS (
        SELECT (SELECT min(key) FROM metric WHERE ${ofRun}) AS key
        UNION ALL
        SELECT (SELECT min(metric.key) FROM metric WHERE ${ofRun} AND metric.key > keys.key)
        FROM keys
        WHERE keys.key IS NOT NULL),
      kept AS (
        SELECT fence.id, keys.key, last.step, last.value
        FROM fence, keys CROSS JOIN LATERAL (
          SELECT step, value
          FROM metric
          WHERE ${ofRun} AND metric.key = keys.key AND (step <= ${beyond} OR attempt = ${token.attempt})
          ORDER BY step DESC
          LIMIT 1) AS last
        WHERE NOT ${isUsage('keys.key')}
        LIMIT ${MOST_LAST_VALUES}),
      last AS (
        INSERT INTO run_metric (run_id, key, step, value)
        SELECT *
        FROM kept
        ON CONFLICT (run_id, key) DO UPDATE SET step = excluded.step, value = excluded.value),
      gone AS (
        DELETE FROM run_metric
        USING fence
        WHERE run_metric.run_id = fence.id AND run_metric.key NOT IN (SELECT key FROM kept)),
      started AS (
        UPDATE attempt SET resumed_from_step = ${step}, trainer_pid = ${trainerPid}
        FROM fence
        WHERE attempt.run_id = fence.id AND attempt.attempt = ${token.attempt})
    SELECT pg_notify('run_changed', id::text)::text
    FROM fence`;
}

/**
 * All that a run has said since the last write, behind one fence and in one statement: four times a second for each
 * run, a round trip is most of the cost.
 * @param hopeful points beyond their key's last are inserted without looking whether they are there, which is half as
 *   long. They can only be when another write of the run was under way at the same time, and then nothing is written.
 */
function recorded(token: Token, progress: Progress, write: WriteNumber, hopeful: boolean): Prisma.Sql {
  const { step, points = [], lines = [], events = [] } = progress;
  const { keys, keyOf, steps, values, last } = columnsOf(points);
  const moved = step
    ? Prisma.sql`, step = ${step.step}, total_steps = ${step.totalSteps}, progress_at = now()`
    : Prisma.empty;
  const ofRun = Prisma.sql`run_id = ${token.runId}::uuid`;
  return Prisma.sql`
    WITH fence AS (
        UPDATE run SET ${counted(write)} ${moved}
        WHERE ${heldFor(token, write)}
        RETURNING id),
      known AS (
        SELECT k.place, k.key, m.step
        FROM unnest(${keys}::text[]) WITH ORDINALITY AS k(key, place)
          LEFT JOIN run_metric AS m ON m.${ofRun} AND m.key = k.key),
      points AS (
        SELECT fence.id, known.key, p.step, p.value,
          ${hopeful} AND (known.step IS NULL OR p.step > known.step) AS fresh
        FROM fence,
          unnest(${keyOf}::text::int[], ${steps}::text::int[], ${values}::text::float8[]) AS p(place, step, value)
          JOIN known ON known.place = p.place),
      fresh AS (
        INSERT INTO metric (run_id, key, step, attempt, value)
        SELECT id, key, step, ${token.attempt}, value
        FROM points
        WHERE fresh),
      others AS (
        INSERT INTO metric (run_id, key, step, attempt, value)
        SELECT id, key, step, ${token.attempt}, value
        FROM points
        WHERE NOT fresh
        ON CONFLICT (run_id, key, step) DO UPDATE SET value = excluded.value, attempt = excluded.attempt,
          seq = excluded.seq, at = excluded.at
        WHERE metric.attempt <= excluded.attempt),
      last AS (
        INSERT INTO run_metric (run_id, key, step, value)
        SELECT fence.id, known.key, p.step, p.value
        FROM fence,
          unnest(${last.steps}::text::int[], ${last.values}::text::float8[]) WITH ORDINALITY AS p(step, value, place)
          JOIN known ON known.place = p.place
        WHERE NOT ${isUsage('known.key')}
          AND (known.step IS NOT NULL
            OR known.place <= ${MOST_LAST_VALUES} - (SELECT count(*) FROM run_metric WHERE ${ofRun}))
        ON CONFLICT (run_id, key) DO UPDATE SET step = excluded.step, value = excluded.value
        WHERE run_metric.step <= excluded.step),
      lines AS (
        INSERT INTO log_line (run_id, attempt, level, message)
        SELECT fence.id, ${token.attempt}, l.level, l.message
        FROM fence,
          unnest(
            ${lines.map(({ level }) => level)}::text[],
            ${lines.map(({ message }) => storableText(message))}::text[]) AS l(level, message)),
      events AS (
        INSERT INTO run_event (run_id, attempt, type, data)
        SELECT fence.id, ${token.attempt}, e.type, e.data
        FROM
          fence,
          jsonb_to_recordset(${JSON.stringify(mapTexts(events, storableText))}::jsonb) AS e(type text, data jsonb))
    SELECT pg_notify('run_changed', id::text)::text
    FROM fence`;
}

/**
 * The row of an artifact and its event behind one fence: neither is seen without the other. What an attempt makes may
 * have been made before, by one that came further than its last checkpoint: where the newest of that name is the same,
 * it stays.
 */
function artifactAdded(token: Token, id: string, artifact: NewArtifact, write: WriteNumber): Prisma.Sql {
  const { name, kind, mime, sizeBytes, sha256, step } = mapTexts(artifact, storableText);
  return Prisma.sql`
    WITH fence AS (
        UPDATE run SET ${counted(write)}
        WHERE ${heldFor(token, write)}
        RETURNING id),
      newest AS (
        SELECT sha256, step
        FROM artifact
        WHERE run_id = ${token.runId}::uuid AND kind = ${kind} AND name = ${name}
        ORDER BY created_at DESC
        LIMIT 1),
      added AS (
        SELECT id
        FROM fence
        WHERE NOT EXISTS (
          SELECT 1
          FROM newest
          WHERE sha256 = ${sha256} AND step IS NOT DISTINCT FROM ${step}::int)),
      event AS (
        INSERT INTO run_event (run_id, attempt, type, data)
        SELECT id, ${token.attempt}, 'artifact', ${JSON.stringify({ id, name, kind, step })}::jsonb
        FROM added),
      row AS (
        INSERT INTO artifact (id, run_id, attempt, name, kind, mime, size_bytes, sha256, step)
        SELECT ${id}::uuid, id, ${token.attempt}, ${name}, ${kind}, ${mime}, ${sizeBytes}, ${sha256}, ${step}::int
        FROM added)
    SELECT pg_notify('run_changed', id::text)::text, EXISTS (SELECT 1 FROM added) AS added
    FROM fence`;
}

/**
 * Forgets the checkpoints of a run that are more than its spec wants kept: but for the newest few, the newest of those
 * that were the best, and those that another run names.
 */
const surplusCheckpointsForgotten = (runId: string): Prisma.Sql => Prisma.sql`
  WITH kept AS (
      SELECT coalesce((spec->'checkpoints'->>'keepLast')::int, ${KEPT_CHECKPOINTS}) AS last
      FROM run
      WHERE id = ${runId}::uuid),
    ranked AS (
      SELECT id, step, name LIKE 'best-%' AS best,
        row_number() OVER (PARTITION BY name LIKE 'best-%' ORDER BY step DESC, created_at DESC) AS place
      FROM artifact
      WHERE run_id = ${runId}::uuid AND kind = 'checkpoint')
  DELETE FROM artifact
  USING ranked, kept
  WHERE artifact.id = ranked.id AND place > CASE WHEN best THEN 1 ELSE kept.last END
    AND NOT EXISTS (
      SELECT 1
      FROM run_dependency d JOIN run child ON child.id = d.run_id
      WHERE d.parent_id = ${runId}::uuid AND (child.spec->>'checkpoint')::int = ranked.step)`;

/**
 * Points as Postgres takes them fastest: the keys, and for each point the place of its key (from 1), its step and its
 * value, as array literals in the order of the primary key; and the last of each key. One statement can't touch a row
 * twice: the last value of a key and step wins. What is not finite is left out.
 */
function columnsOf(points: readonly MetricPoint[]) {
  const byKey = new Map<string, Map<number, number>>();
  for (const { key: given, step, value } of points) {
    const key = storableText(given);
    if (Number.isFinite(value)) (byKey.get(key) ?? byKey.set(key, new Map()).get(key)!).set(step, value);
  }
  const keys = [...byKey.keys()].sort();
  const series = keys.map((key) => [...byKey.get(key)!].sort(([a], [b]) => a - b));
  const literal = (numbers: readonly number[]) => `{${numbers.join()}}`;
  return {
    keys,
    keyOf: literal(series.flatMap((each, i) => each.map(() => i + 1))),
    steps: literal(series.flatMap((each) => each.map(([step]) => step))),
    values: literal(series.flatMap((each) => each.map(([, value]) => value))),
    last: {
      steps: literal(series.map((each) => each.at(-1)![0])),
      values: literal(series.map((each) => each.at(-1)![1])),
    },
  };
}
