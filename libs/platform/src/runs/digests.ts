/** Digests of runs, by which an equal one is found, and of requests, by which a repeat is known. */
import {
  canonicalJson,
  canonicalPieces,
  encoderModelOf,
  TRAINING_CODE_VERSION,
  withoutUnread,
  type RunSpec,
} from '#libs/contracts';
import { createHash } from 'node:crypto';
import { Turns } from '../machine/turns.js';

/** Characters that are hashed in one call. */
const HASHED_AT_ONCE = 65_536;

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

/** The sha256 of a value's canonical JSON, made in turns: a request may be long. */
export async function requestHash(request: unknown): Promise<string> {
  const hash = createHash('sha256');
  const turns = new Turns();
  let text = '';
  for (const piece of canonicalPieces(request)) {
    text += piece;
    if (text.length < HASHED_AT_ONCE) continue;
    hash.update(text);
    text = '';
    if (turns.over) await turns.next();
  }
  return hash.update(text).digest('hex');
}

/** What a spec names, by digests: its dataset, what it begins with, the maps it is aligned to, its encoder's model. */
export interface NamedDigests {
  dataset: string | null;
  from: string | null;
  alignTo?: string | null;
  /** Of the model that its encoder is of. */
  model?: string | null;
}

/** What a run reads of its spec, with dataset, parents and models by what they are, not by what they are called. */
export const identifying = (spec: RunSpec, { dataset, from, alignTo = null, model = null }: NamedDigests) => ({
  ...withoutUnread(spec),
  ...('dataset' in spec && { dataset }),
  ...('from' in spec && { from }),
  ...('alignTo' in spec && { alignTo }),
  ...('encoder' in spec && encoderModelOf(spec) !== undefined && { encoder: { ...spec.encoder, model } }),
});

/** The digest of a run. */
export const runDigest = (spec: RunSpec, named: NamedDigests): string =>
  sha256(canonicalJson({ ...identifying(spec, named), code: TRAINING_CODE_VERSION }));
