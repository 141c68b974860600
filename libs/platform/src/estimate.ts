/** What new runs will cost, from what such runs have cost. */
import { canonicalJson, halvingOf, isModelled, parallelTrialsOf, rungsOf, stepsPerEpoch, type Estimation, type Pretrain, type RunKind, type RunSpec, type SweepSpec } from '#libs/contracts';
import type { Placement } from './admission.js';
import type { Transaction } from './database.js';

/** Of each kind so many of the newest runs that have succeeded are looked at. */
const HISTORY = 200;

/** How much work a run is, in samples that pass through the network; null where that says little. */
function samplesOf(spec: RunSpec, trainCount: number): number | null {
  if (spec.kind === 'finetune') return spec.steps * spec.batchSize;
  if (spec.kind === 'pretrain' || spec.kind === 'distill' || spec.kind === 'autoencode') return spec.epochs * stepsPerEpoch(spec, trainCount) * spec.batchSize;
  return null;
}

interface Past { kind: RunKind; spec: RunSpec; datasetDigest: string | null; seconds: number; encoder: string | null }
const median = (values: number[]): number => values.sort((a, b) => a - b)[Math.floor((values.length - 1) / 2)]!;

/**
 * Seconds of workers that new runs will take: each like the median of the most similar that have succeeded (same kind, dataset and
 * encoder; else same kind and encoder; else same kind), by samples where it trains. Where nothing of a kind has run, it is
 * left out and named. Wall time: shared by the slots of the workers that are alive, and no shorter than the longest chain of runs.
 */
export async function estimate(tx: Transaction, placements: readonly Placement[], { leaseMs, sweep, trials = 1 }: { leaseMs: number; sweep?: SweepSpec; trials?: number }): Promise<Estimation> {
  const wanted = placements.filter(({ outcome }) => outcome === 'new');
  const kinds = [...new Set(wanted.map(({ spec }) => spec.kind))];
  const past = kinds.length ? await tx.$queryRaw<Past[]>`
    SELECT r.kind, r.spec, r.dataset_digest AS "datasetDigest", (coalesce(r.spec->'encoder', p.spec->'encoder'))::text AS encoder,
      (SELECT sum(extract(epoch FROM a.ended_at - a.started_at))::float8 FROM attempt a WHERE a.run_id = r.id) AS seconds
    FROM unnest(${kinds}::text[]) AS wanted(kind)
      JOIN LATERAL (SELECT * FROM run WHERE run.kind = wanted.kind AND run.status = 'succeeded' ORDER BY created_at DESC LIMIT ${HISTORY}) AS r ON true
      LEFT JOIN run p ON p.id = (r.spec->>'from')::uuid` : [];
  const counts = new Map<string | null, number>();
  for (const digest of new Set([...wanted, ...past].map(({ datasetDigest }) => datasetDigest))) counts.set(digest, digest === null ? 0 : await trainCount(tx, digest));
  const usable = past.filter(({ seconds }) => seconds !== null && seconds > 0);
  const byId = new Map(placements.map((placement) => [placement.runId, placement]));
  const encoderOf = (placement: Placement): string | null => {
    const { spec } = placement;
    if ('encoder' in spec && spec.encoder) return canonicalJson(spec.encoder);
    const parent = byId.get(placement.parentIds[0] ?? '');
    return parent ? encoderOf(parent) : null;
  };
  const cost = usable.map((run) => {
    const samples = samplesOf(run.spec, counts.get(run.datasetDigest)!);
    return { ...run, encoder: run.encoder === null ? null : canonicalJson(JSON.parse(run.encoder)), unit: run.seconds / (samples ?? 1) };
  });

  const basis: Estimation['basis'] = {};
  const unknown: Record<string, number> = {};
  const secondsOf = new Map<string, number>();
  for (const placement of wanted) {
    const { spec } = placement;
    const encoder = encoderOf(placement);
    const alike = [
      cost.filter((run) => run.kind === spec.kind && run.datasetDigest === placement.datasetDigest && run.encoder === encoder),
      cost.filter((run) => run.kind === spec.kind && run.encoder === encoder),
      cost.filter((run) => run.kind === spec.kind),
    ].find((some) => some.length > 0);
    if (!alike) {
      unknown[spec.kind] = (unknown[spec.kind] ?? 0) + 1;
      continue;
    }
    const samples = samplesOf(spec, counts.get(placement.datasetDigest)!);
    const seconds = median(alike.map(({ unit }) => unit)) * (samples ?? 1);
    secondsOf.set(placement.runId, seconds);
    const known = basis[spec.kind] ??= { runs: alike.length, seconds: 0 };
    known.runs = Math.min(known.runs, alike.length);
    known.seconds += seconds;
  }
  if (sweep) shorten(sweep, trials, wanted, basis, counts);
  const gpuSeconds = Object.values(basis).reduce((sum, { seconds }) => sum + seconds, 0);
  const [{ slots } = { slots: 0 }] = await tx.$queryRaw<{ slots: number }[]>`
    SELECT coalesce(sum(slots), 0)::int AS slots FROM worker WHERE state = 'running' AND heartbeat_at > now() - make_interval(secs => ${leaseMs / 1000}::float8)`;
  const chain = (placement: Placement): number => {
    const parent = byId.get(placement.parentIds[0] ?? '');
    return (secondsOf.get(placement.runId) ?? 0) + (parent ? chain(parent) : 0);
  };
  const longest = wanted.reduce((most, placement) => Math.max(most, chain(placement)), 0);
  const places = Math.min(slots, sweep ? parallelTrialsOf(sweep) : 1);
  return { gpuSeconds, wallSeconds: places > 0 ? Math.max(longest, gpuSeconds / places) : null, slots, basis, unknown };
}

/** Halving trains few pretrainings to their end, and only those are finetuned; of a search by a model only the first draws are laid out. */
function shorten(sweep: SweepSpec, trials: number, wanted: readonly Placement[], basis: Estimation['basis'], counts: ReadonlyMap<string | null, number>): void {
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
  for (const [kind, known] of Object.entries(basis)) known.seconds *= scale * (kind === 'pretrain' ? trained : surviving);
}

/** Training samples of a dataset version. */
export async function trainCount(tx: Transaction, digest: string): Promise<number> {
  const [row] = await tx.$queryRaw<{ count: number }[]>`SELECT (manifest->'splits'->'train'->>'count')::int AS count FROM dataset WHERE digest = ${digest} LIMIT 1`;
  return row?.count ?? 0;
}
