/** Whether the new runs of a plan fit the memory of the workers that are there. */
import {
  encoderModelOf,
  isOwnNetwork,
  neededMiB,
  viewSizeOf,
  type DatasetManifest,
  type KnownEncoder,
  type MemoryFit,
  type Requires,
  type RunSpec,
} from '#libs/contracts';
import type { Placement } from './admission.js';
import type { Transaction } from '../machine/database.js';
import { inTurns } from '../machine/turns.js';
import { manifestOf, modelOfRun, specOf } from './records.js';
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
  const place = roomiest(await placesFor(tx, leaseMs, requires));
  const datasets = await datasetsOf(tx, placements);
  const inherited = await inheritedOf(tx, placements);
  const neededBy = (spec: RunSpec, { sample, splits }: DatasetManifest) =>
    neededMiB(spec, {
      sample,
      ...inherited(spec),
      trainCount: splits.train.count,
      host: place?.host ?? true,
    });
  const fresh = new Set(placements.flatMap(({ runId, outcome }) => (outcome === 'new' ? [runId] : [])));
  const kinds: Record<string, number> = {};
  const trials = new Set<number>();
  const known = new Map<string, number | null>();
  await inTurns(placements, ({ spec, datasetDigest, digest, runId }, i) => {
    const dataset = datasets.get(datasetDigest ?? '');
    if (!dataset || !fresh.has(runId)) return;
    if (!known.has(digest)) known.set(digest, neededBy(spec, dataset));
    const needed = known.get(digest) ?? null;
    if (needed === null) return;
    kinds[spec.kind] = Math.max(kinds[spec.kind] ?? 0, needed);
    if (place && needed > place.memoryMiB && trialOf) trials.add(trialOf(i));
  });
  const most = Object.values(kinds).length ? Math.max(...Object.values(kinds)) : null;
  const on = place ? `${place.name}, ${place.memoryMiB} MiB` : null;
  const fits = most === null || !place ? null : most <= place.memoryMiB;
  return { neededMiB: most, kinds, fits, on, trials: [...trials].sort((x, y) => x - y) };
}

const roomiest = (places: readonly Place[]): Place | undefined =>
  places.reduce<Place | undefined>((best, each) => (best && best.memoryMiB >= each.memoryMiB ? best : each), undefined);

/** Where a run that asks for this may run: each GPU of a worker, or a slot's part of the memory of one without. */
async function placesFor(tx: Transaction, leaseMs: number, wanted: Requires = { labels: {} }): Promise<Place[]> {
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

async function datasetsOf(tx: Transaction, placements: readonly Placement[]): Promise<Map<string, DatasetManifest>> {
  const digests = [...new Set(placements.flatMap(({ datasetDigest }) => (datasetDigest ? [datasetDigest] : [])))];
  const rows = await tx.dataset.findMany({ where: { digest: { in: digests } }, distinct: ['digest'] });
  return new Map(rows.map((row) => [row.digest, manifestOf(row)]));
}

/**
 * The encoder of a spec, its own or that of the nearest ancestor which has one or took one in, and the size at which it
 * sees.
 */
async function inheritedOf(
  tx: Transaction,
  placements: readonly Placement[],
): Promise<(spec: RunSpec) => { inherited: KnownEncoder | undefined; size: number | undefined }> {
  const byId = new Map(placements.map((placement) => [placement.runId, placement.spec]));
  const outside = [...new Set(placements.flatMap(({ parentIds }) => parentIds.filter((id) => !byId.has(id))))];
  const rows = outside.length
    ? await tx.run.findMany({
        where: { id: { in: outside } },
        select: { id: true, kind: true, spec: true, result: true },
      })
    : [];
  const takenIn = new Map<string, KnownEncoder>();
  for (const row of rows) {
    byId.set(row.id, specOf(row));
    const model = row.kind === 'import-model' ? modelOfRun(row) : undefined;
    if (model) takenIn.set(row.id, { ...model.encoder, made: model });
  }
  const encoderOf = (spec: RunSpec | undefined): KnownEncoder | undefined => {
    if (spec && 'encoder' in spec && spec.encoder) {
      const begun = 'from' in spec && spec.from ? takenIn.get(spec.from) : undefined;
      const made = (takenIn.get(encoderModelOf(spec) ?? '') ?? begun)?.made;
      return isOwnNetwork(spec.encoder) ? { ...spec.encoder, made } : spec.encoder;
    }
    return spec && 'from' in spec && spec.from ? (takenIn.get(spec.from) ?? encoderOf(byId.get(spec.from))) : undefined;
  };
  const sizeOf = (spec: RunSpec | undefined): number | undefined => {
    if (spec?.kind === 'pretrain') return viewSizeOf(spec);
    if (!spec || !('from' in spec) || !spec.from || (spec.kind === 'finetune' && spec.task === 'segmentation'))
      return undefined;
    return sizeOf(byId.get(spec.from));
  };
  return (spec) => ({ inherited: encoderOf(spec), size: sizeOf(spec) });
}
