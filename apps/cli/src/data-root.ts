/** Paths that are typed here, as the API reads them: relative to the data root. */
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { settings } from './program.js';
import { readState } from './stack-state.js';

/** The data root of the stack of `loom up`; undefined where there is none. */
export const dataRootHere = async (): Promise<string | undefined> => (await readState(settings().dir))?.dataRoot;

/** A path as it is typed here, where it lies in the stack's data root; else as the API shall read it. */
export async function belowRoot(source: string, dataRoot: string | undefined): Promise<string> {
  const absolute = path.resolve(source);
  if (!dataRoot || !absolute.startsWith(dataRoot + path.sep)) return source;
  const isThere = await stat(absolute).then(
    () => true,
    () => false,
  );
  return isThere ? path.relative(dataRoot, absolute) : source;
}
