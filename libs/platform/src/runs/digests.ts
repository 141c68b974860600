/** Digests of runs, by which an equal one is found, and of requests, by which a repeat is known. */
import { canonicalJson, canonicalPieces, TRAINING_CODE_VERSION, withoutUnread, type RunSpec } from '#libs/contracts';
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
