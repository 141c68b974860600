/** Models that submits name: the runs that took them in, with which theirs begin; see `admission.ts`. */
import { canonicalJson, Encoder, modelNamedBy, type Fault, type ModelManifest, type RunSpec } from '#libs/contracts';
import type { Transaction } from '../machine/database.js';
import { RequestError } from '../request-error.js';
import type { At } from './faults.js';

/** Names of models that are told where one is asked for that is not there. */
const MOST_TOLD = 20;

/** The reference of the model that a spec begins with. */
const modelOf = (spec: RunSpec): string | undefined =>
  'from' in spec && spec.from ? modelNamedBy(spec.from) : undefined;

/**
 * Drafts in which `from` is the run that took the model in, where it named a model. A version that a run is about to
 * begin with is held until the transaction ends: it can't be deleted meanwhile.
 * @throws RequestError `invalid_request` for each model that is not there
 */
export async function withModels<Draft extends { spec: RunSpec; path: (string | number)[] }>(
  tx: Transaction,
  drafts: readonly Draft[],
): Promise<readonly Draft[]> {
  const wanted = new Set(drafts.flatMap(({ spec }) => modelOf(spec) ?? []));
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
  return drafts.map((draft) => {
    const reference = modelOf(draft.spec);
    return reference === undefined ? draft : { ...draft, spec: { ...draft.spec, from: runs.get(reference)! } };
  });
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
    drafts.flatMap(({ spec, path }) => {
      const reference = modelOf(spec);
      return reference === undefined || found.has(reference)
        ? []
        : [{ path: [...path, 'from'], message: `expected a model (${known}), got ${reference}` }];
    }),
  );
}

/** A pretraining that begins with a model has the model's encoder. */
export const withTheirEncoder = (spec: RunSpec, model: ModelManifest | undefined): RunSpec =>
  spec.kind === 'pretrain' && model ? { ...spec, encoder: model.encoder } : spec;

/** An encoder of its own is none beside a model's, unless it is the same, or the one where none is named. */
export function startFaults(spec: RunSpec, model: ModelManifest | undefined, at: At): Fault[] {
  if (spec.kind !== 'pretrain' || !model) return [];
  const given = canonicalJson(spec.encoder);
  if ([Encoder.parse({}), model.encoder].some((encoder) => canonicalJson(encoder) === given)) return [];
  return [{ path: at('encoder'), message: "expected no encoder together with `from`: the encoder is the model's" }];
}
