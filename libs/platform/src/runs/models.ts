/** Models that submits name: the runs that took them in, with which theirs begin; see `admission.ts`. */
import {
  canonicalJson,
  Encoder,
  encoderModelOf,
  isOwnNetwork,
  modelNamedBy,
  nearest,
  type Fault,
  type ModelManifest,
  type RunSpec,
  type SampleShape,
} from '#libs/contracts';
import type { Transaction } from '../machine/database.js';
import { RequestError } from '../request-error.js';
import type { At } from './faults.js';
import { modelOfRun, specOf } from './records.js';

/** Names of models, and of layers, that are told where one is asked for that is not there. */
const MOST_TOLD = 20;
const RUN_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

interface Named {
  reference: string;
  /** Where it stands in the spec. */
  field: string[];
}

/** The models that a spec names: the one it begins with, and the one that its encoder is of. */
function modelsOf(spec: RunSpec): Named[] {
  const start = 'from' in spec && spec.from ? modelNamedBy(spec.from) : undefined;
  const own = encoderModelOf(spec);
  return [
    ...(start === undefined ? [] : [{ reference: start, field: ['from'] }]),
    ...(own === undefined || RUN_ID.test(own) ? [] : [{ reference: own, field: ['encoder', 'model'] }]),
  ];
}

/**
 * Drafts in which `from` and `encoder.model` are the runs that took models in, where they named models. A version that
 * a run is about to begin with is held until the transaction ends: it can't be deleted meanwhile.
 * @throws RequestError `invalid_request` for each model that is not there
 */
export async function withModels<Draft extends { spec: RunSpec; path: (string | number)[] }>(
  tx: Transaction,
  drafts: readonly Draft[],
): Promise<readonly Draft[]> {
  const wanted = new Set(drafts.flatMap(({ spec }) => modelsOf(spec).map(({ reference }) => reference)));
  if (wanted.size === 0) return drafts;
  const runs = new Map<string, string>();
  for (const reference of wanted) {
    const [name, digest = ''] = reference.split('@') as [string, string?];
    const [version] = await tx.$queryRaw<{ runId: string }[]>`
      SELECT run_id AS "runId"
      FROM model
      WHERE name = ${name} AND starts_with(digest, ${digest})
      ORDER BY created_at DESC
      LIMIT 1
      FOR KEY SHARE`;
    if (version) runs.set(reference, version.runId);
  }
  if (runs.size < wanted.size) throw await missing(tx, drafts, runs);
  return drafts.map((draft) => ({ ...draft, spec: withRuns(draft.spec, runs) }));
}

/** A spec with the runs that took models in, where it names models. */
function withRuns(spec: RunSpec, runs: ReadonlyMap<string, string>): RunSpec {
  return modelsOf(spec).reduce<RunSpec>((each, { reference, field }) => {
    const run = runs.get(reference)!;
    if (field[0] === 'from') return { ...each, from: run } as RunSpec;
    return 'encoder' in each ? ({ ...each, encoder: { ...each.encoder, model: run } } as RunSpec) : each;
  }, spec);
}

/** What drafts name that is none of the models that were found. */
async function missing(
  tx: Transaction,
  drafts: readonly { spec: RunSpec; path: (string | number)[] }[],
  found: ReadonlyMap<string, string>,
): Promise<RequestError> {
  const names = await tx.model.findMany({
    distinct: ['name'],
    select: { name: true },
    orderBy: { name: 'asc' },
    take: MOST_TOLD,
  });
  const known = names.map(({ name }) => name).join(', ') || 'there is none yet: `loom models add`';
  return RequestError.invalid(
    drafts.flatMap(({ spec, path }) =>
      modelsOf(spec).flatMap(({ reference, field }) =>
        found.has(reference)
          ? []
          : [{ path: [...path, ...field], message: `expected a model (${known}), got ${reference}` }],
      ),
    ),
  );
}

/** A pretraining that begins with a model has the model's encoder; one of a model's layers says of which. */
export function withTheirEncoder(
  spec: RunSpec,
  begun: ModelManifest | undefined,
  own: ModelManifest | undefined,
): RunSpec {
  if (spec.kind === 'pretrain' && begun) return { ...spec, encoder: begun.encoder };
  if (!('encoder' in spec) || !spec.encoder || !own) return spec;
  const { features } = own.encoder;
  return { ...spec, encoder: { ...(features !== undefined && { features }), ...spec.encoder } };
}

/** The encoder of a run's networks: its own, or that of the nearest ancestor which has one or took one in. */
export async function encoderThrough(
  tx: Transaction,
  run: { spec: RunSpec; model: ModelManifest | undefined },
): Promise<Encoder | undefined> {
  for (let { spec, model } = run; ;) {
    const own = model?.encoder ?? ('encoder' in spec ? spec.encoder : undefined);
    if (own || !('from' in spec) || !spec.from) return own;
    const before = await tx.run.findUnique({
      where: { id: spec.from },
      select: { id: true, spec: true, result: true },
    });
    if (!before) return undefined;
    spec = specOf(before);
    model = modelOfRun(before);
  }
}

/** An encoder of its own is none beside a model's, unless it is the same, or the one where none is named. */
export function startFaults(spec: RunSpec, model: ModelManifest | undefined, at: At): Fault[] {
  if (spec.kind !== 'pretrain' || !model) return [];
  const given = canonicalJson(spec.encoder);
  if ([Encoder.parse({}), model.encoder].some((encoder) => canonicalJson(encoder) === given)) return [];
  return [{ path: at('encoder'), message: "expected no encoder together with `from`: the encoder is the model's" }];
}

/** What keeps layers of a model from being the spec's encoder. `own`: of the run in `encoder.model`. */
export function ownFaults(
  spec: RunSpec,
  own: { model: ModelManifest | undefined } | undefined,
  sample: SampleShape | undefined,
  at: At,
): Fault[] {
  const encoder = 'encoder' in spec ? spec.encoder : undefined;
  if (!encoder || !isOwnNetwork(encoder)) return [];
  const fault = (field: string, message: string): Fault[] => [{ path: at('encoder', field), message }];
  if (encoder.model === undefined)
    return 'from' in spec && spec.from
      ? []
      : fault('model', 'expected the model whose layers are trained: `loom models add NAME model.json`');
  if (!own?.model?.layers)
    return fault(
      'model',
      `expected a layers model that was taken in, got ${
        own?.model
          ? `${own.model.name}, which is one of ` +
            `${own.model.encoder.name}: begin with it by \`from: model ${own.model.name}\``
          : encoder.model
      }`,
    );
  const names = own.model.layers.map(({ name }) => name);
  if (encoder.features !== undefined && !names.includes(encoder.features))
    return fault('features', noSuchLayer(own.model.name, encoder.features, names));
  return [...uses(spec, at), ...channelFaults(own.model.sample, sample, at)];
}

function noSuchLayer(model: string, given: string, names: readonly string[]): string {
  const like = nearest(given, names);
  const told = names.slice(-MOST_TOLD).join(', ');
  return (
    `expected a layer of ${model}, got ${given}` +
    (like === undefined ? '' : `: did you mean ${like}?`) +
    ` (it has ${names.length > MOST_TOLD ? `${names.length}, the last of them ` : ''}${told})`
  );
}

/** What needs to know the blocks of an encoder. */
function uses(spec: RunSpec, at: At): Fault[] {
  const told = (field: string, message: string): Fault => ({ path: at(field), message });
  if (spec.kind === 'autoencode' && spec.domain === 'waveform')
    return [told('domain', 'expected spectrograms for layers of a model, got waveform')];
  if (spec.kind !== 'finetune') return [];
  return [
    ...(spec.task === 'segmentation'
      ? [told('task', 'expected classification for layers of a model, whose resolutions are not known')]
      : []),
    ...(['layerDecay', 'fineTuneAfterBlock'] as const).flatMap((field) =>
      spec[field] === undefined ? [] : [told(field, 'expected none for layers of a model, which have no blocks')],
    ),
  ];
}

function channelFaults(made: SampleShape, sample: SampleShape | undefined, at: At): Fault[] {
  if (!sample || made.modality !== 'image') return [];
  const channels = sample.modality === 'image' ? sample.channels : 1;
  if (channels === made.channels) return [];
  const given = sample.modality === 'image' ? `images of ${channels} channels` : 'spectrograms, of one';
  return [
    {
      path: at('encoder', 'model'),
      message: `expected a model for ${given}, got one for ${made.channels} channels`,
    },
  ];
}
