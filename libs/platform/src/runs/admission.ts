/**
 * What a submit asks for, held against what there is: datasets and parents are looked up, values that only make sense
 * together are checked, and each spec gets its digest, by which an equal run that exists already is found.
 */
import {
  ACTIVE_STATUSES,
  AUGMENTATIONS,
  canonicalJson,
  defaultAugmentation,
  Encoder,
  labelsPerClass,
  PARENT_KINDS,
  parentsOf,
  REUSABLE_STATUSES,
  sampleText,
  SOUND_AUGMENTATIONS,
  strataOf,
  TRAINING_CODE_VERSION,
  withoutUnread,
  type Augmentation,
  type DatasetManifest,
  type Fault,
  type Plan,
  type RunKind,
  type RunSpec,
  type RunStatus,
  type SampleShape,
} from '#libs/contracts';
import { createHash, randomUUIDv7 } from 'node:crypto';
import path from 'node:path';
import { Prisma, type Transaction } from '../machine/database.js';
import { RequestError } from '../request-error.js';

/** A run that is asked for. */
export interface Draft {
  spec: RunSpec;
  name?: string | undefined;
  /** Where the spec stands in the request, for faults. */
  path: (string | number)[];
  /** The draft, earlier in the list, whose run takes the place of `from`. */
  parent?: number | undefined;
}

/** The run that answers a draft. */
export interface Placement {
  runId: string;
  /** `new`: to be inserted; `shared`: with an earlier draft of the same submit; `existing`: it was there before. */
  outcome: 'new' | 'shared' | 'existing';
  digest: string;
  spec: RunSpec;
  name: string | null;
  datasetDigest: string | null;
  parentIds: string[];
  /** What the run's status is, or is to be. */
  status: RunStatus;
}

interface Known {
  manifest: DatasetManifest;
  reference: string;
}
interface ExistingRun {
  id: string;
  digest: string;
  kind: RunKind;
  status: RunStatus;
  spec: RunSpec;
  datasetDigest: string | null;
}

export const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

/**
 * The digest of a run: what it reads of its spec, with dataset and parents by what they are, not by what they are
 * called.
 */
export const runDigest = (
  spec: RunSpec,
  datasetDigest: string | null,
  parentDigest: string | null,
  alignDigest: string | null = null,
): string =>
  sha256(
    canonicalJson({
      ...withoutUnread(spec),
      ...('dataset' in spec && { dataset: datasetDigest }),
      ...('from' in spec && { from: parentDigest }),
      ...('alignTo' in spec && { alignTo: alignDigest }),
      code: TRAINING_CODE_VERSION,
    }),
  );

/** Locks are taken by hash so that a sweep of any size takes few of them, always in ascending order. */
const DIGEST_LOCKS = 256;
const DIGEST_LOCK_SPACE = 0x10_0d;

async function resolveDatasets(tx: Transaction, references: Set<string>): Promise<Map<string, Known>> {
  const known = new Map<string, Known>();
  for (const reference of references) {
    const [name, digest = ''] = reference.split('@') as [string, string?];
    const found = await tx.dataset.findMany({
      where: { name, digest: { startsWith: digest } },
      orderBy: { createdAt: 'desc' },
      take: 1,
    });
    const version = found[0];
    if (version)
      known.set(reference, {
        manifest: version.manifest as unknown as DatasetManifest,
        reference: `${version.name}@${version.digest.slice(0, 12)}`,
      });
  }
  return known;
}

/** Share-locked until the transaction ends: a parent can't finish between being looked at and being depended on. */
async function existingRuns(tx: Transaction, condition: Prisma.Sql): Promise<ExistingRun[]> {
  return tx.$queryRaw<ExistingRun[]>`
    SELECT id, digest, kind, status::text AS status, spec, dataset_digest AS "datasetDigest" FROM run WHERE ${condition} ORDER BY created_at FOR SHARE`;
}

/** Views have to suit what a sample is, and colour operations need colours. */
function augmentationFaults(
  augmentation: Augmentation,
  sample: SampleShape,
  at: (...field: string[]) => (string | number)[],
): Fault[] {
  const faults: Fault[] = AUGMENTATIONS.filter(
    (name) => augmentation[name] !== undefined && SOUND_AUGMENTATIONS.includes(name) !== (sample.modality === 'audio'),
  ).map((name) => ({
    path: at(name),
    message: `expected no ${name}: the dataset is of ${sample.modality === 'audio' ? 'sounds' : 'images'}`,
  }));
  if (sample.modality === 'audio' || sample.channels === 3) return faults;
  if (augmentation.grayscale)
    faults.push({ path: at('grayscale'), message: 'expected no grayscale: the dataset has one channel' });
  for (const key of ['saturation', 'hue'] as const) {
    const strength = augmentation.colorJitter?.[key] ?? 0;
    if (strength > 0)
      faults.push({
        path: at('colorJitter', key),
        message: `expected 0 for a dataset of one channel, got ${strength}`,
      });
  }
  return faults;
}

/** What the run learns from, beside the samples. */
function supervisionOf(spec: RunSpec): 'labels' | 'masks' | null {
  if (spec.kind === 'finetune') return spec.task === 'segmentation' ? 'masks' : 'labels';
  return spec.kind === 'evaluate' || (spec.kind === 'distill' && spec.labelWeight > 0) ? 'labels' : null;
}

/** Faults that only the dataset can show. */
function datasetFaults(
  spec: Extract<RunSpec, { dataset: string }>,
  { manifest, reference }: Known,
  at: (...field: string[]) => (string | number)[],
): Fault[] {
  const faults: Fault[] = [];
  const { train } = manifest.splits;
  const needed = 'evalSplit' in spec ? spec.evalSplit : spec.split;
  if (!manifest.splits[needed]?.count) {
    const present = Object.keys(manifest.splits).filter((split) => split !== 'train' || !('evalSplit' in spec));
    faults.push({
      path: at('evalSplit' in spec ? 'evalSplit' : 'split'),
      message:
        `expected a split of ${reference}${'evalSplit' in spec ? ' other than train' : ''} ` +
        `(${present.join(', ') || 'it has none'}), got ${needed}`,
    });
  }
  const supervision = supervisionOf(spec);
  if (supervision && !train[supervision]) {
    const field = spec.kind === 'finetune' ? 'task' : 'dataset';
    faults.push({
      path: at(field),
      message:
        supervision === 'masks'
          ? `expected a dataset with masks for segmentation, ${reference} has a class for each sample: expected ` +
            'classification'
          : `expected a dataset with a class for each sample, ${reference} has masks`,
    });
  } else if (supervision && 'labelFraction' in spec) {
    const strata = strataOf(train);
    const kept = labelsPerClass(strata, spec.labelFraction);
    const without = kept.findIndex((count) => count === 0);
    if (without >= 0) {
      const whose = train.labels
        ? `class ${manifest.classes[without]} has ${strata[without]} samples`
        : `there are ${train.count} masks`;
      faults.push({
        path: at('labelFraction'),
        message:
          'expected a fraction that leaves each class an example (at least ' +
          `${(0.5 / Math.min(...strata)).toPrecision(3)} for ${reference}), got ${spec.labelFraction}: ${whose}`,
      });
    }
    const labelled = kept.reduce((sum, count) => sum + count, 0);
    if ('batchSize' in spec && without < 0 && spec.batchSize > labelled) {
      faults.push({
        path: at('batchSize'),
        message:
          `expected at most the ${labelled} labelled samples of ${reference} at label fraction ` +
          `${spec.labelFraction}, got ${spec.batchSize}`,
      });
    }
  } else if ('batchSize' in spec && spec.batchSize > train.count) {
    faults.push({
      path: at('batchSize'),
      message: `expected at most the ${train.count} training samples of ${reference}, got ${spec.batchSize}`,
    });
  }
  if ('augmentation' in spec && spec.augmentation)
    faults.push(...augmentationFaults(spec.augmentation, manifest.sample, (...field) => at('augmentation', ...field)));
  if ('knn' in spec && train.labels && spec.knn.k > Math.min(spec.knn.bankSize, train.count)) {
    faults.push({
      path: at('knn', 'k'),
      message: `expected at most the ${Math.min(spec.knn.bankSize, train.count)} samples that vote, got ${spec.knn.k}`,
    });
  }
  return faults;
}

/** Faults that only the parent in `from` can show. */
function parentFaults(
  spec: RunSpec,
  sample: SampleShape | undefined,
  parent: { spec: RunSpec; sample: SampleShape | undefined },
  at: (...field: string[]) => (string | number)[],
): Fault[] {
  const faults: Fault[] = [];
  const kinds = PARENT_KINDS[spec.kind];
  if (!kinds.includes(parent.spec.kind))
    return [
      { path: at('from'), message: `expected a run of kind ${kinds.join(', ')}, got one of kind ${parent.spec.kind}` },
    ];
  if (spec.kind === 'finetune') {
    const layers = parent.spec.kind === 'pretrain' ? parent.spec.projection.layers : 0;
    if (spec.fromHeadLayer > layers)
      faults.push({
        path: at('fromHeadLayer'),
        message: `expected at most ${layers}, the layers of the parent's projection head, got ${spec.fromHeadLayer}`,
      });
  }
  if (spec.kind === 'distill' && parent.spec.kind === 'finetune' && parent.spec.task !== 'classification')
    faults.push({ path: at('from'), message: 'expected a teacher that classifies, got one that segments' });
  if (sample && parent.sample) {
    const essence = (shape: SampleShape) =>
      spec.kind === 'interpolate'
        ? sampleText(shape)
        : shape.modality === 'image'
          ? `images of ${shape.channels} channels`
          : `sounds at ${shape.sampleRate} Hz`;
    if (essence(sample) !== essence(parent.sample))
      faults.push({
        path: at('dataset'),
        message: `expected ${essence(parent.sample)} like those the parent was trained on, got ${essence(sample)}`,
      });
  }
  return faults;
}

/**
 * A checkpoint is named by its step. What stays of the run `from` at submission stays as long as the run that names it
 * (`RunStore.addArtifact`).
 */
async function checkpointFaults(
  tx: Transaction,
  from: string | undefined,
  checkpoint: number,
  at: (...field: string[]) => (string | number)[],
): Promise<Fault[]> {
  const kept =
    from === undefined
      ? []
      : await tx.artifact.findMany({
          where: { runId: from, kind: 'checkpoint' },
          distinct: ['step'],
          orderBy: { step: 'asc' },
          select: { step: true },
        });
  if (kept.some(({ step }) => step === checkpoint)) return [];
  return [
    {
      path: at('checkpoint'),
      message:
        'expected a step at which the run in `from` has a checkpoint ' +
        `(${kept.map(({ step }) => step).join(', ') || 'it has none'}; its \`checkpoints\` say which are written ` +
        `and kept), got ${checkpoint}`,
    },
  ];
}

/** What only the dataset can fill in. */
function withDefaults<Spec extends RunSpec>(spec: Spec, manifest: DatasetManifest): Spec {
  const { kind } = spec;
  if ((kind !== 'pretrain' && kind !== 'finetune' && kind !== 'distill') || spec.augmentation) return spec;
  return { ...spec, augmentation: defaultAugmentation(kind === 'pretrain' ? 'pretrain' : 'labels', manifest.sample) };
}

/** The path stays below the data root as far as its text says; the worker looks at links. */
function pathFaults(
  spec: Extract<RunSpec, { kind: 'prepare-dataset' }>,
  dataRoot: string,
  at: (...field: string[]) => (string | number)[],
): Fault[] {
  const relative = path.relative(dataRoot, path.resolve(dataRoot, spec.path));
  if (relative !== '..' && !relative.startsWith(`..${path.sep}`) && !path.isAbsolute(relative)) return [];
  return [{ path: at('path'), message: `expected a path inside the data root, got ${spec.path}` }];
}

/**
 * Finds or makes a place for each draft. Equal drafts share a run; where `reuse` is set, a run that exists with the
 * same digest and can still give a result is taken, or (the id of a sweep) one of that sweep's. Equal submits at the
 * same moment wait for each other on the digest.
 * Nothing is written: `RunStore` inserts the placements that are `new`.
 * @throws RequestError `invalid_request` with every fault that was found.
 */
export async function admit(
  tx: Transaction,
  drafts: readonly Draft[],
  options: { dataRoot: string; reuse: boolean | string },
): Promise<Placement[]> {
  const references = new Set(drafts.flatMap(({ spec }) => ('dataset' in spec ? [spec.dataset] : [])));
  const datasets = await resolveDatasets(tx, references);
  const parentIds = drafts.filter((draft) => draft.parent === undefined).flatMap((draft) => parentsOf(draft.spec));
  const parents = new Map(
    (parentIds.length ? await existingRuns(tx, Prisma.sql`id = ANY(${[...new Set(parentIds)]}::uuid[])`) : []).map(
      (run) => [run.id, run],
    ),
  );
  const parentDatasets = new Map<string, DatasetManifest>();
  for (const parent of parents.values()) {
    if (!parent.datasetDigest || parentDatasets.has(parent.datasetDigest)) continue;
    const row = await tx.dataset.findFirst({ where: { digest: parent.datasetDigest } });
    if (row) parentDatasets.set(parent.datasetDigest, row.manifest as unknown as DatasetManifest);
  }

  const faults: Fault[] = [];
  const complete: { spec: RunSpec; digest: string; dataset: Known | undefined }[] = [];
  for (const [index, draft] of drafts.entries()) {
    const at = (...field: string[]) => [...draft.path, ...field];
    let { spec } = draft;
    const dataset = 'dataset' in spec ? datasets.get(spec.dataset) : undefined;
    let parentDigest: string | null = null;
    if (spec.kind === 'prepare-dataset') {
      faults.push(...pathFaults(spec, options.dataRoot, at));
    } else if ('dataset' in spec) {
      if (dataset) {
        faults.push(...datasetFaults(spec, dataset, at));
        spec = withDefaults({ ...spec, dataset: dataset.reference }, dataset.manifest);
      } else {
        const names = await tx.dataset.findMany({
          distinct: ['name'],
          select: { name: true },
          orderBy: { name: 'asc' },
          take: 20,
        });
        faults.push({
          path: at('dataset'),
          message:
            'expected a prepared dataset ' +
            `(${names.map(({ name }) => name).join(', ') || 'there is none yet: submit a prepare-dataset run'}), ` +
            `got ${spec.dataset}`,
        });
      }
    }
    const sample = dataset?.manifest.sample;
    if ('from' in spec) {
      if (draft.parent !== undefined) {
        const parent = complete[draft.parent];
        if (!parent || draft.parent >= index)
          throw new TypeError(`expected a parent before draft ${index}, got ${draft.parent}`);
        parentDigest = parent.digest;
        faults.push(...parentFaults(spec, sample, { spec: parent.spec, sample: parent.dataset?.manifest.sample }, at));
      } else if (spec.from !== null) {
        const parent = parents.get(spec.from);
        if (!parent)
          faults.push({
            path: at('from'),
            message: `expected the id of a run, got ${spec.from}: there is no such run`,
          });
        else if (!(REUSABLE_STATUSES as readonly RunStatus[]).includes(parent.status))
          faults.push({
            path: at('from'),
            message: `expected a run that has succeeded or still can, got one that is ${parent.status}: retry it first`,
          });
        else {
          parentDigest = parent.digest;
          faults.push(
            ...parentFaults(
              spec,
              sample,
              {
                spec: parent.spec,
                sample: parent.datasetDigest ? parentDatasets.get(parent.datasetDigest)?.sample : undefined,
              },
              at,
            ),
          );
        }
      } else if (spec.kind === 'finetune' || (spec.kind === 'evaluate' && spec.features === 'encoder')) {
        spec = { ...spec, encoder: spec.encoder ?? Encoder.parse({}) };
      }
    }
    if ('checkpoint' in spec && spec.checkpoint !== undefined && spec.from !== null)
      faults.push(
        ...(await checkpointFaults(tx, draft.parent === undefined ? spec.from : undefined, spec.checkpoint, at)),
      );
    let alignDigest: string | null = null;
    if (spec.kind === 'embed' && spec.alignTo !== null) {
      const other = parents.get(spec.alignTo);
      if (other?.kind === 'embed' && (REUSABLE_STATUSES as readonly RunStatus[]).includes(other.status))
        alignDigest = other.digest;
      else
        faults.push({
          path: at('alignTo'),
          message:
            `expected an embed run that has succeeded or still can, got ${spec.alignTo}: ` +
            `${other ? `it is of kind ${other.kind} and ${other.status}` : 'there is no such run'}`,
        });
    }
    complete.push({
      spec,
      digest: runDigest(spec, dataset?.manifest.digest ?? null, parentDigest, alignDigest),
      dataset,
    });
  }
  if (faults.length) throw RequestError.invalid(distinct(faults));

  const reusable = options.reuse
    ? await reusableRuns(
        tx,
        complete.map(({ digest }) => digest),
        typeof options.reuse === 'string' ? options.reuse : null,
      )
    : new Map<string, ExistingRun>();
  const placements: Placement[] = [];
  const byDigest = new Map<string, Placement>();
  for (const [index, { spec, digest, dataset }] of complete.entries()) {
    const draft = drafts[index]!;
    // What a folder holds may have changed since it was last prepared.
    const mayShare = spec.kind !== 'prepare-dataset';
    const earlier = mayShare ? byDigest.get(digest) : undefined;
    if (earlier) {
      placements.push({ ...earlier, outcome: earlier.outcome === 'existing' ? 'existing' : 'shared' });
      continue;
    }
    const existing = mayShare ? reusable.get(digest) : undefined;
    const parent = draft.parent !== undefined ? placements[draft.parent]! : undefined;
    const given = parentsOf(spec);
    const parentIds = parent ? [parent.runId, ...given.slice(1)] : given;
    const waits =
      (parent !== undefined && parent.status !== 'succeeded') ||
      given.slice(parent ? 1 : 0).some((id) => parents.get(id)?.status !== 'succeeded');
    const placement: Placement = {
      runId: existing?.id ?? randomUUIDv7(),
      outcome: existing ? 'existing' : 'new',
      digest,
      name: draft.name ?? null,
      spec: parent && 'from' in spec ? { ...spec, from: parent.runId } : spec,
      datasetDigest: dataset?.manifest.digest ?? null,
      parentIds,
      status: existing?.status ?? (waits ? 'pending' : 'queued'),
    };
    byDigest.set(digest, placement);
    placements.push(placement);
  }
  return placements;
}

const distinct = (faults: Fault[]): Fault[] => [
  ...new Map(faults.map((fault) => [canonicalJson([fault.path, fault.message]), fault])).values(),
];

/**
 * For each digest the run to attach to: one that has succeeded before one that runs, one that runs before one that
 * waits.
 */
async function reusableRuns(
  tx: Transaction,
  digests: string[],
  sweepId: string | null,
): Promise<Map<string, ExistingRun>> {
  const buckets = [...new Set(digests.map((digest) => Number.parseInt(digest.slice(0, 8), 16) % DIGEST_LOCKS))].sort(
    (a, b) => a - b,
  );
  await tx.$queryRaw`SELECT pg_advisory_xact_lock(${DIGEST_LOCK_SPACE}::int, bucket)::text FROM unnest(${buckets}::int[]) AS bucket`;
  const rank = (status: RunStatus) =>
    status === 'succeeded' ? 0 : (ACTIVE_STATUSES as readonly RunStatus[]).includes(status) ? 1 : 2;
  const found = await existingRuns(
    tx,
    Prisma.sql`digest = ANY(${[...new Set(digests)]}::text[]) AND status::text = ANY(${[...REUSABLE_STATUSES]}::text[])
    AND (${sweepId}::uuid IS NULL OR id IN (SELECT run_id FROM trial_run WHERE sweep_id = ${sweepId}::uuid))`,
  );
  const best = new Map<string, ExistingRun>();
  for (const run of found) {
    const known = best.get(run.digest);
    if (!known || rank(run.status) < rank(known.status)) best.set(run.digest, run);
  }
  return best;
}

/** What a submit would start and what it would take from elsewhere. */
export function planOf(placements: readonly Placement[], trials: number): Plan {
  const count = (chosen: readonly Placement[]) => {
    const counts: Record<string, number> = {};
    for (const { spec } of chosen) counts[spec.kind] = (counts[spec.kind] ?? 0) + 1;
    return counts;
  };
  const newRuns = count(placements.filter(({ outcome }) => outcome === 'new'));
  const reused = count(placements.filter(({ outcome }) => outcome !== 'new'));
  const list = (counts: Record<string, number>) =>
    Object.entries(counts)
      .map(([kind, n]) => `${n} ${kind}`)
      .join(', ') || 'none';
  return {
    trials,
    newRuns,
    reused,
    summary: `${trials} ${trials === 1 ? 'trial' : 'trials'}; new runs: ${list(newRuns)}; reused: ${list(reused)}`,
  };
}
