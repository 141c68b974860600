/** What new runs will cost, from what such runs have cost. */
import {
  canonicalJson,
  isModelled,
  parallelTrialsOf,
  type Estimation,
  type Pretrain,
  type RunKind,
  type RunSpec,
  type SweepSpec,
} from '#libs/contracts';
import { halvingOf, rungsOf, stepsPerEpoch } from '#libs/search';
import type { Placement } from './admission.js';
import { Prisma, type Transaction } from '../machine/database.js';
import { inTurns } from '../machine/turns.js';
import { attemptSeconds, takesRuns } from './sql.js';

/** Of each kind so many of the newest runs that have succeeded are looked at. */
const HISTORY = 200;

/** How much work a run is, in samples that pass through the network; null where that says little. */
function samplesOf(spec: RunSpec, trainCount: number): number | null {
  if (spec.kind === 'finetune') return spec.steps * spec.batchSize;
  if (spec.kind === 'pretrain' || spec.kind === 'distill' || spec.kind === 'autoencode')
    return spec.epochs * stepsPerEpoch(spec, trainCount) * spec.batchSize;
  return null;
}

interface Past {
  kind: RunKind;
  spec: RunSpec;
  datasetDigest: string | null;
  seconds: number;
  encoder: string | null;
}
const median = (values: number[]): number => values.sort((a, b) => a - b)[Math.floor((values.length - 1) / 2)]!;

/** What a run is like, to those that have to say how long it takes. */
interface Likeness {
  spec: RunSpec;
  datasetDigest: string | null;
  /** In canonical form; a finetuning's is that of its parent. */ encoder: string | null;
}

/**
 * How many seconds of a worker each run will take, and by how many that have succeeded: the median of the most similar
 * (same kind, dataset and encoder; else same kind and encoder; else same kind), by samples where it trains. Null where
 * nothing of its kind has run.
 */
export async function secondsOfEach(
  tx: Transaction,
  wanted: readonly Likeness[],
): Promise<({ seconds: number; runs: number } | null)[]> {
  const kinds = [...new Set(wanted.map(({ spec }) => spec.kind))];
  const past = kinds.length ? await tx.$queryRaw<Past[]>(pastRuns(kinds)) : [];
  const counts = await trainCounts(tx, [...wanted, ...past]);
  const cost = past
    .filter(({ seconds }) => seconds !== null && seconds > 0)
    .map((run) => {
      const samples = samplesOf(run.spec, counts.get(run.datasetDigest)!);
      return {
        ...run,
        encoder: run.encoder === null ? null : canonicalJson(JSON.parse(run.encoder)),
        unit: run.seconds / (samples ?? 1),
      };
    });
  const known = new Map<string, { unit: number; runs: number } | null>();
  const unitOf = (like: Likeness) => {
    const name = JSON.stringify([like.spec.kind, like.datasetDigest, like.encoder]);
    if (!known.has(name)) known.set(name, unitOfAlike(cost, like));
    return known.get(name)!;
  };
  return inTurns(wanted, (like) => {
    const found = unitOf(like);
    const samples = samplesOf(like.spec, counts.get(like.datasetDigest)!) ?? 1;
    return found && { seconds: found.unit * samples, runs: found.runs };
  });
}

/** Seconds of a unit of work of the most similar: their median, and how many they are; null where there are none. */
function unitOfAlike(
  cost: readonly (Past & { unit: number })[],
  { spec: { kind }, datasetDigest, encoder }: Likeness,
): { unit: number; runs: number } | null {
  const alike = [
    cost.filter((run) => run.kind === kind && run.datasetDigest === datasetDigest && run.encoder === encoder),
    cost.filter((run) => run.kind === kind && run.encoder === encoder),
    cost.filter((run) => run.kind === kind),
  ].find((some) => some.length > 0);
  return alike ? { unit: median(alike.map(({ unit }) => unit)), runs: alike.length } : null;
}

/** Of each kind the newest runs that have succeeded, in one statement, however many kinds are asked for. */
const pastRuns = (kinds: readonly RunKind[]): Prisma.Sql => Prisma.sql`
  SELECT
    r.kind,
    r.spec,
    r.dataset_digest AS "datasetDigest",
    (coalesce(r.spec->'encoder', p.spec->'encoder'))::text AS encoder,
    (SELECT sum(${attemptSeconds('a')})::float8 FROM attempt a WHERE a.run_id = r.id) AS seconds
  FROM unnest(${[...kinds]}::text[]) AS wanted(kind)
    JOIN LATERAL (
      SELECT *
      FROM run
      WHERE run.kind = wanted.kind AND run.status = 'succeeded'
      ORDER BY created_at DESC
      LIMIT ${HISTORY}) AS r ON true
    LEFT JOIN run p ON p.id = (r.spec->>'from')::uuid`;

async function trainCounts(
  tx: Transaction,
  runs: readonly { datasetDigest: string | null }[],
): Promise<Map<string | null, number>> {
  const counts = new Map<string | null, number>();
  for (const digest of new Set(runs.map(({ datasetDigest }) => datasetDigest)))
    counts.set(digest, digest === null ? 0 : await trainCount(tx, digest));
  return counts;
}

/**
 * Seconds of workers that new runs will take. Where nothing of a kind has run, it is left out and named. Wall time:
 * shared by the slots of the workers that are alive, and no shorter than the longest chain of runs.
 */
export async function estimate(
  tx: Transaction,
  placements: readonly Placement[],
  { leaseMs, sweep, trials = 1 }: { leaseMs: number; sweep?: SweepSpec; trials?: number },
): Promise<Estimation> {
  const wanted = placements.filter(({ outcome }) => outcome === 'new');
  const byId = new Map(placements.map((placement) => [placement.runId, placement]));
  const encoderOf = (placement: Placement): string | null => {
    const { spec } = placement;
    if ('encoder' in spec && spec.encoder) return canonicalJson(spec.encoder);
    const parent = byId.get(placement.parentIds[0] ?? '');
    return parent ? encoderOf(parent) : null;
  };
  const each = await secondsOfEach(
    tx,
    await inTurns(wanted, (placement) => ({ ...placement, encoder: encoderOf(placement) })),
  );
  const counts = await trainCounts(tx, wanted);

  const basis: Estimation['basis'] = {};
  const unknown: Record<string, number> = {};
  const secondsOf = new Map<string, number>();
  await inTurns(wanted, ({ spec, runId }, i) => {
    const found = each[i];
    if (!found) {
      unknown[spec.kind] = (unknown[spec.kind] ?? 0) + 1;
      return;
    }
    secondsOf.set(runId, found.seconds);
    const known = (basis[spec.kind] ??= { runs: found.runs, seconds: 0 });
    known.runs = Math.min(known.runs, found.runs);
    known.seconds += found.seconds;
  });
  if (sweep) shorten(sweep, trials, wanted, basis, counts);
  const gpuSeconds = Object.values(basis).reduce((sum, { seconds }) => sum + seconds, 0);
  const [{ slots } = { slots: 0 }] = await tx.$queryRaw<{ slots: number }[]>`
    SELECT coalesce(sum(slots), 0)::int AS slots
    FROM worker
    WHERE ${takesRuns(leaseMs)}`;
  const chain = (placement: Placement): number => {
    const parent = byId.get(placement.parentIds[0] ?? '');
    return (secondsOf.get(placement.runId) ?? 0) + (parent ? chain(parent) : 0);
  };
  let longest = 0;
  await inTurns(wanted, (placement) => {
    longest = Math.max(longest, chain(placement));
  });
  const places = Math.min(slots, sweep ? parallelTrialsOf(sweep) : 1);
  return { gpuSeconds, wallSeconds: places > 0 ? Math.max(longest, gpuSeconds / places) : null, slots, basis, unknown };
}

/**
 * Halving trains few pretrainings to their end, and only those are finetuned; of a search by a model only the first
 * draws are laid out.
 */
function shorten(
  sweep: SweepSpec,
  trials: number,
  wanted: readonly Placement[],
  basis: Estimation['basis'],
  counts: ReadonlyMap<string | null, number>,
): void {
  const scale = isModelled(sweep) && sweep.run_cap! > trials ? sweep.run_cap! / trials : 1;
  const halving = sweep.early_terminate ? halvingOf(sweep.early_terminate) : null;
  const pretrainings = wanted.filter(({ spec }) => spec.kind === 'pretrain');
  let [trained, surviving] = [1, 1];
  if (halving && pretrainings.length > 0) {
    const n = pretrainings.length * scale;
    const spec = pretrainings[0]!.spec as Pretrain;
    const total = spec.epochs * stepsPerEpoch(spec, counts.get(pretrainings[0]!.datasetDigest)!);
    const ends = [...rungsOf(halving, spec, counts.get(pretrainings[0]!.datasetDigest)!, 0), total];
    const alive = ends.map((_, k) => Math.max(1, Math.floor(n / halving.factor ** k)) / n);
    trained = ends.reduce((sum, end, k) => sum + (alive[k]! * (end - (ends[k - 1] ?? 0))) / total, 0);
    surviving = alive.at(-1)!;
  }
  for (const [kind, known] of Object.entries(basis))
    known.seconds *= scale * (kind === 'pretrain' ? trained : surviving);
}

/** Training samples of a dataset version. */
export async function trainCount(tx: Transaction, digest: string): Promise<number> {
  const [row] = await tx.$queryRaw<{ count: number }[]>`
    SELECT (manifest->'splits'->'train'->>'count')::int AS count
    FROM dataset
    WHERE digest = ${digest}
    LIMIT 1`;
  return row?.count ?? 0;
}
