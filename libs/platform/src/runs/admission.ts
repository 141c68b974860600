/**
 * What a submit asks for, held against what there is: datasets and parents are looked up, values that only make sense
 * together are checked, and each spec gets its digest, by which an equal run that exists already is found.
 */
import {
  canonicalJson,
  defaultAugmentation,
  Encoder,
  encoderModelOf,
  parentsOf,
  REUSABLE_STATUSES,
  READS_DATA_ROOT,
  type Fault,
  type ModelManifest,
  type RunKind,
  type RunSpec,
  type RunStatus,
  type SampleShape,
} from '#libs/contracts';
import { Prisma, type Transaction } from '../machine/database.js';
import { inTurns, Turns } from '../machine/turns.js';
import { RequestError } from '../request-error.js';
import { ascendingIds } from './ascending-ids.js';
import { runDigest } from './digests.js';
import { checkpointFaults, datasetFaults, parentFaults, pathFaults, type At, type KnownDataset } from './faults.js';
import { encoderThrough, ownFaults, startFaults, withModels, withTheirEncoder } from './models.js';
import { manifestOf, modelOfRun, specOf } from './records.js';
import { knownOf, type Known, type Reuse } from './reuse.js';

/** A run that is asked for. */
export interface Draft {
  spec: RunSpec;
  name?: string | undefined;
  /** Where the spec stands in the request, for faults. */
  path: (string | number)[];
  /** Fields of the spec that stand elsewhere in the request: what a parameter of a sweep sets. */
  setBy?: ReadonlyMap<string, (string | number)[]> | undefined;
  /** The draft, earlier in the list, whose run takes the place of `from`. */
  parent?: number | undefined;
}

/** The run that answers a draft. */
export interface Placement {
  runId: string;
  /**
   * `new`: to be inserted; `ended`: to be inserted too, and never to run, because its parent is one that was stopped
   * early; `shared`: with an earlier draft of the same submit; `existing`: it was there before.
   */
  outcome: 'new' | 'ended' | 'shared' | 'existing';
  digest: string;
  spec: RunSpec;
  name: string | null;
  datasetDigest: string | null;
  parentIds: string[];
  /** What the run's status is, or is to be. */
  status: RunStatus;
  /** A run of its digest has begun and was stopped early: a new one is trained anew. */
  stoppedBefore: boolean;
}

interface ExistingRun {
  id: string;
  digest: string;
  kind: RunKind;
  status: RunStatus;
  spec: RunSpec;
  datasetDigest: string | null;
  /** Of a run that took one in. */
  model: ModelManifest | undefined;
  /** Its own, or what it has from an ancestor. */
  encoder: Encoder | undefined;
}

/** What the drafts of a submit name: datasets by reference, runs by id. */
interface Named {
  datasets: Map<string, KnownDataset>;
  /** The newest names of datasets, for one that is asked for and is not there. */
  datasetNames: string[];
  parents: Map<string, ExistingRun>;
  /** What a sample of a dataset is, by the dataset's digest. */
  samples: Map<string, SampleShape>;
}

/** A draft with all that only its dataset and its parents could fill in. */
interface Complete {
  spec: RunSpec;
  digest: string;
  dataset: KnownDataset | undefined;
  /** Its own, or what it has from an ancestor. */
  encoder: Encoder | undefined;
}

const isReusable = (status: RunStatus): boolean => (REUSABLE_STATUSES as readonly RunStatus[]).includes(status);

/**
 * Finds or makes a place for each draft. Equal drafts share a run, and a run that exists with the same digest is taken
 * where `reuse` says so. Equal submits at the same moment wait for each other on the digest.
 * Nothing is written: `Submission` inserts the placements that are `new` or `ended`.
 * @throws RequestError `invalid_request` with every fault that was found.
 */
export async function admit(
  tx: Transaction,
  given: readonly Draft[],
  options: { dataRoot: string; reuse: Reuse },
): Promise<Placement[]> {
  const drafts = await withModels(tx, given);
  const named = await lookUp(tx, drafts);
  const faults: Fault[] = [];
  const turns = new Turns();
  const complete: Complete[] = [];
  for (const [index, draft] of drafts.entries()) {
    const parent = draft.parent === undefined ? undefined : complete[draft.parent];
    if (draft.parent !== undefined && (!parent || draft.parent >= index))
      throw new TypeError(`expected a parent before draft ${index}, got ${draft.parent}`);
    complete.push(await check(tx, draft, parent, named, options.dataRoot, faults));
    if (turns.over) await turns.next();
  }
  if (faults.length) throw RequestError.invalid(distinct(faults));
  const digests = new Set<string>();
  await inTurns(complete, ({ digest }) => digests.add(digest));
  return placed(drafts, complete, await knownOf(tx, [...digests], options.reuse), named);
}

/** Parents are share-locked until the transaction ends: none can finish between being looked at and depended on. */
async function lookUp(tx: Transaction, drafts: readonly Draft[]): Promise<Named> {
  const datasets = new Map<string, KnownDataset>();
  for (const reference of new Set(drafts.flatMap(({ spec }) => ('dataset' in spec ? [spec.dataset] : [])))) {
    const [name, digest = ''] = reference.split('@') as [string, string?];
    // Held until the transaction ends: a version that a run is about to be of can't be deleted meanwhile.
    const [version] = await tx.$queryRaw<{ name: string; digest: string; manifest: unknown }[]>`
      SELECT name, digest, manifest
      FROM dataset
      WHERE name = ${name} AND starts_with(digest, ${digest})
      ORDER BY created_at DESC
      LIMIT 1
      FOR KEY SHARE`;
    if (version)
      datasets.set(reference, {
        manifest: manifestOf(version),
        reference: `${version.name}@${version.digest.slice(0, 12)}`,
      });
  }
  const ids = [
    ...new Set(
      drafts.flatMap(({ spec, parent }) => (parent === undefined ? parentsOf(spec) : (encoderModelOf(spec) ?? []))),
    ),
  ];
  const parents = ids.length ? await existingRuns(tx, Prisma.sql`id = ANY(${ids}::uuid[])`) : [];
  const known = new Map<string, ExistingRun>();
  for (const row of parents) {
    const run = { ...row, spec: specOf(row), model: modelOfRun(row) };
    known.set(run.id, { ...run, encoder: await encoderThrough(tx, run) });
  }
  const samples = new Map<string, SampleShape>();
  for (const digest of new Set(parents.flatMap(({ datasetDigest }) => datasetDigest ?? []))) {
    const row = await tx.dataset.findFirst({ where: { digest } });
    if (row) samples.set(digest, manifestOf(row).sample);
  }
  const missing = drafts.some(({ spec }) => 'dataset' in spec && !datasets.has(spec.dataset));
  const names = missing
    ? await tx.dataset.findMany({ distinct: ['name'], select: { name: true }, orderBy: { name: 'asc' }, take: 20 })
    : [];
  return {
    datasets,
    datasetNames: names.map(({ name }) => name),
    parents: known,
    samples,
  };
}

/** Share-locked until the transaction ends, the oldest first. */
async function existingRuns(tx: Transaction, condition: Prisma.Sql) {
  return tx.$queryRaw<(Omit<ExistingRun, 'model' | 'encoder'> & { result: unknown })[]>`
    SELECT
      id,
      digest,
      kind,
      status::text AS status,
      spec,
      dataset_digest AS "datasetDigest",
      CASE WHEN kind = 'import-model' THEN result END AS result
    FROM run
    WHERE ${condition}
    ORDER BY created_at
    FOR SHARE`;
}

/** Completes a draft, and says what is wrong with it. `given`: the draft whose run takes the place of `from`. */
async function check(
  tx: Transaction,
  draft: Draft,
  given: Complete | undefined,
  named: Named,
  dataRoot: string,
  faults: Fault[],
): Promise<Complete> {
  const at: At = (...field) => draft.setBy?.get(field.join('.')) ?? [...draft.path, ...field];
  const dataset = 'dataset' in draft.spec ? named.datasets.get(draft.spec.dataset) : undefined;
  const model = given ? undefined : modelBegunWith(draft.spec, named);
  const own = ownModelOf(draft.spec, named);
  const spec = withTheirEncoder(withParentless(withDataset(draft.spec, dataset), given), model, own?.model);
  faults.push(
    ...startFaults(draft.spec, model, at),
    ...ownFaults(spec, own, dataset?.manifest.sample, at),
    ...pathFaults(spec, dataRoot, at),
  );
  if ('dataset' in spec && dataset) faults.push(...datasetFaults(draft.spec as typeof spec, dataset, at));
  else if ('dataset' in spec) faults.push(missingDataset(spec.dataset, named, at));
  const parent = parentOf(spec, given, named, dataset?.manifest.sample, at);
  faults.push(...parent.faults);
  if ('checkpoint' in spec && spec.checkpoint !== undefined && spec.from)
    faults.push(...(await checkpointFaults(tx, given ? undefined : spec.from, spec.checkpoint, at)));
  const aligned = alignedTo(spec, named, at);
  faults.push(...aligned.faults);
  const digest = runDigest(spec, {
    dataset: digestOf(dataset?.manifest),
    from: parent.digest,
    alignTo: aligned.digest,
    model: digestOf(own?.model),
  });
  return { spec, digest, dataset, encoder: encoderOf(spec, given, named) };
}

/** A spec's own encoder, or that of the run which it begins with. */
function encoderOf(spec: RunSpec, given: Complete | undefined, { parents }: Named): Encoder | undefined {
  const begun = given ?? ('from' in spec && spec.from ? parents.get(spec.from) : undefined);
  return ('encoder' in spec ? spec.encoder : undefined) ?? begun?.encoder;
}

const digestOf = (version: { digest: string } | undefined): string | null => version?.digest ?? null;
const ownModelOf = (spec: RunSpec, { parents }: Named): ExistingRun | undefined =>
  parents.get(encoderModelOf(spec) ?? '');

const modelBegunWith = (spec: RunSpec, { parents }: Named): ModelManifest | undefined =>
  'from' in spec && spec.from ? parents.get(spec.from)?.model : undefined;

/** What only the dataset can fill in. */
function withDataset(spec: RunSpec, dataset: KnownDataset | undefined): RunSpec {
  if (!('dataset' in spec) || !dataset) return spec;
  const named = { ...spec, dataset: dataset.reference };
  const { kind } = named;
  if ((kind !== 'pretrain' && kind !== 'finetune' && kind !== 'distill') || named.augmentation) return named;
  if (kind === 'pretrain' && named.views) return named;
  const augmentation = defaultAugmentation(kind === 'pretrain' ? 'pretrain' : 'labels', dataset.manifest.sample);
  return { ...named, augmentation };
}

/** A run without a parent has an encoder of its own. */
function withParentless(spec: RunSpec, given: Complete | undefined): RunSpec {
  if (given || !('from' in spec) || spec.from !== null) return spec;
  if (spec.kind === 'finetune' || (spec.kind === 'evaluate' && spec.features === 'encoder'))
    return { ...spec, encoder: spec.encoder ?? Encoder.parse({}) };
  return spec;
}

const missingDataset = (reference: string, { datasetNames }: Named, at: At): Fault => ({
  path: at('dataset'),
  message:
    'expected a prepared dataset ' +
    `(${datasetNames.join(', ') || 'there is none yet: submit a prepare-dataset run'}), ` +
    `got ${reference}`,
});

/** The digest of the parent, whether it is a draft or a run, and what keeps it from being one. */
function parentOf(
  spec: RunSpec,
  given: Complete | undefined,
  named: Named,
  sample: SampleShape | undefined,
  at: At,
): { digest: string | null; faults: Fault[] } {
  if (!('from' in spec)) return { digest: null, faults: [] };
  const fault = (message: string) => ({ digest: null, faults: [{ path: at('from'), message }] });
  if (given?.spec.kind === 'import-model')
    return fault('expected a model that has been taken in: do that first, then name it by `from: model NAME`');
  if (given) {
    const faults = parentFaults(spec, sample, { ...given, sample: given.dataset?.manifest.sample }, at);
    return { digest: given.digest, faults };
  }
  if (!spec.from) return { digest: null, faults: [] };
  const parent = named.parents.get(spec.from);
  if (!parent) return fault(`expected the id of a run, got ${spec.from}: there is no such run`);
  if (!isReusable(parent.status))
    return fault(`expected a run that has succeeded or still can, got one that is ${parent.status}: retry it first`);
  if (parent.kind === 'import-model' && !parent.model)
    return fault(`expected a model that has been taken in, its run is ${parent.status}: wait until it has succeeded`);
  const of = {
    spec: parent.spec,
    sample: parent.model?.sample ?? named.samples.get(parent.datasetDigest ?? ''),
    encoder: parent.encoder,
  };
  return { digest: parent.model?.digest ?? parent.digest, faults: parentFaults(spec, sample, of, at) };
}

/** The same of the embed run that another is aligned to. */
function alignedTo(spec: RunSpec, { parents }: Named, at: At): { digest: string | null; faults: Fault[] } {
  if (spec.kind !== 'embed' || spec.alignTo === null) return { digest: null, faults: [] };
  const other = parents.get(spec.alignTo);
  if (other?.kind === 'embed' && isReusable(other.status)) return { digest: other.digest, faults: [] };
  const message =
    `expected an embed run that has succeeded or still can, got ${spec.alignTo}: ` +
    `${other ? `it is of kind ${other.kind} and ${other.status}` : 'there is no such run'}`;
  return { digest: null, faults: [{ path: at('alignTo'), message }] };
}

const distinct = (faults: Fault[]): Fault[] => [
  ...new Map(faults.map((fault) => [canonicalJson([fault.path, fault.message]), fault])).values(),
];

/** On which runs a new run depends, `parent` in the place of `from`, and what its status is for it. */
function dependencies(
  spec: RunSpec,
  parent: Placement | undefined,
  parents: ReadonlyMap<string, ExistingRun>,
): Pick<Placement, 'parentIds' | 'status' | 'outcome'> {
  const others = parentsOf(spec).slice(parent && 'from' in spec && spec.from ? 1 : 0);
  const parentIds = [...(parent ? [parent.runId] : []), ...others];
  if (parent?.status === 'early_stopped') return { parentIds, status: 'early_stopped', outcome: 'ended' };
  const waits =
    (parent !== undefined && parent.status !== 'succeeded') ||
    others.some((id) => parents.get(id)?.status !== 'succeeded');
  return { parentIds, status: waits ? 'pending' : 'queued', outcome: 'new' };
}

async function placed(
  drafts: readonly Draft[],
  complete: readonly Complete[],
  { reusable, stopped }: Known,
  { parents }: Named,
): Promise<Placement[]> {
  const placements: Placement[] = [];
  const byDigest = new Map<string, Placement>();
  const ids = ascendingIds();
  const place = ({ spec, digest, dataset }: Complete, draft: Draft): Placement => {
    const mayShare = !READS_DATA_ROOT.includes(spec.kind);
    const earlier = mayShare ? byDigest.get(digest) : undefined;
    if (earlier) return { ...earlier, outcome: earlier.outcome === 'existing' ? 'existing' : 'shared' };
    const existing = mayShare ? reusable.get(digest) : undefined;
    const parent = draft.parent !== undefined ? placements[draft.parent]! : undefined;
    const placement: Placement = {
      runId: existing?.id ?? ids.next().value,
      digest,
      name: draft.name ?? null,
      spec: parent && 'from' in spec ? { ...spec, from: parent.runId } : spec,
      datasetDigest: dataset?.manifest.digest ?? null,
      ...dependencies(spec, parent, parents),
      ...(existing && { status: existing.status, outcome: 'existing' }),
      stoppedBefore: stopped.has(digest),
    };
    byDigest.set(digest, placement);
    return placement;
  };
  await inTurns(complete, (each, index) => placements.push(place(each, drafts[index]!)));
  return placements;
}
