/** Whether the new runs of a plan fit the memory of the workers that are there. */
import {
  neededMiB,
  type DatasetManifest,
  type Encoder,
  type MemoryFit,
  type Requires,
  type RunSpec,
} from '#libs/contracts';
import type { Placement } from './admission.js';
import type { Transaction } from '../machine/database.js';
import { takesRuns } from './sql.js';

interface Place {
  name: string;
  memoryMiB: number;
  host: boolean;
}

/**
 * What the largest new run of each kind needs, against the roomiest place where it may run: a GPU, or the part of a
 * machine's memory that a slot of it has. `trialOf` says which trial a placement belongs to.
 */
export async function memoryFit(
  tx: Transaction,
  placements: readonly Placement[],
  {
    leaseMs,
    requires,
    trialOf,
  }: { leaseMs: number; requires?: Requires | undefined; trialOf?: (placement: number) => number },
): Promise<MemoryFit> {
  const places = await placesFor(tx, leaseMs, requires ?? { labels: {} });
  const place = places.reduce<Place | undefined>(
    (best, each) => (best && best.memoryMiB >= each.memoryMiB ? best : each),
    undefined,
  );
  const digests = [...new Set(placements.flatMap(({ datasetDigest }) => (datasetDigest ? [datasetDigest] : [])))];
  const datasets = new Map(
    (await tx.dataset.findMany({ where: { digest: { in: digests } }, distinct: ['digest'] })).map(
      ({ digest, manifest }) => [digest, manifest as unknown as DatasetManifest],
    ),
  );
  const byId = new Map(placements.map((placement) => [placement.runId, placement.spec]));
  const outside = [...new Set(placements.flatMap(({ parentIds }) => parentIds.filter((id) => !byId.has(id))))];
  for (const { id, spec } of outside.length
    ? await tx.run.findMany({ where: { id: { in: outside } }, select: { id: true, spec: true } })
    : [])
    byId.set(id, spec as unknown as RunSpec);
  const encoderOf = (spec: RunSpec | undefined): Encoder | undefined => {
    if (spec && 'encoder' in spec && spec.encoder) return spec.encoder;
    return spec && 'from' in spec && spec.from ? encoderOf(byId.get(spec.from)) : undefined;
  };

  const fresh = new Set(placements.flatMap(({ runId, outcome }) => (outcome === 'new' ? [runId] : [])));
  const kinds: Record<string, number> = {};
  const trials = new Set<number>();
  const known = new Map<string, number | null>();
  for (const [i, { spec, datasetDigest, digest, runId }] of placements.entries()) {
    const dataset = datasets.get(datasetDigest ?? '');
    if (!dataset || !fresh.has(runId)) continue;
    if (!known.has(digest))
      known.set(
        digest,
        neededMiB(spec, {
          sample: dataset.sample,
          inherited: encoderOf(spec),
          trainCount: dataset.splits.train.count,
          host: place?.host ?? true,
        }),
      );
    const needed = known.get(digest) ?? null;
    if (needed === null) continue;
    kinds[spec.kind] = Math.max(kinds[spec.kind] ?? 0, needed);
    if (place && needed > place.memoryMiB && trialOf) trials.add(trialOf(i));
  }
  const most = Object.values(kinds).length ? Math.max(...Object.values(kinds)) : null;
  return {
    neededMiB: most,
    kinds,
    fits: most === null || !place ? null : most <= place.memoryMiB,
    on: place ? `${place.name}, ${place.memoryMiB} MiB` : null,
    trials: [...trials].sort((a, b) => a - b),
  };
}

/** Where a run that asks for this may run: each GPU of a worker, or a slot's part of the memory of one without. */
async function placesFor(tx: Transaction, leaseMs: number, wanted: Requires): Promise<Place[]> {
  const workers = await tx.$queryRaw<
    { id: string; slots: number; memoryMiB: number | null; gpus: { name: string; memoryMiB: number }[] }[]
  >`
    SELECT id, slots, memory_mib AS "memoryMiB", gpus
    FROM worker
    WHERE ${takesRuns(leaseMs)} AND labels @> ${JSON.stringify(wanted.labels)}::jsonb`;
  return workers.flatMap(({ id, slots, memoryMiB, gpus }): Place[] => {
    const fitting = gpus.filter(
      ({ name, memoryMiB: size }) =>
        (!wanted.gpu?.name || name.toLowerCase().includes(wanted.gpu.name.toLowerCase())) &&
        size >= (wanted.gpu?.memoryMiB ?? 0),
    );
    if (gpus.length)
      return fitting.map(({ name, memoryMiB: size }) => ({
        name: `${name} of ${id}`,
        memoryMiB: Math.floor(size / Math.max(1, Math.ceil(slots / gpus.length))),
        host: false,
      }));
    if (memoryMiB === null || wanted.gpu) return [];
    const name = `one of ${slots} ${slots === 1 ? 'slot' : 'slots'} of ${id}`;
    return [{ name, memoryMiB: Math.floor(memoryMiB / slots), host: true }];
  });
}
