/** Finds the run or sweep that was typed in place of an id: a part of one, a name, or `best:` and a sweep. */
import type { LoomClient, Reference } from '#libs/contracts';
import { UsageError } from './usage-error.js';

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const BEST = 'best:';

/** The id of the run that is meant. @throws UsageError where none is, or several are */
export async function runId(api: LoomClient, text: string): Promise<string> {
  if (text.startsWith(BEST)) {
    const sweep = await sweepId(api, text.slice(BEST.length));
    const { best } = await api.sweepResults(sweep);
    if (best) return best.runId;
    throw new UsageError(`expected a sweep of which a trial has come to a value, got ${sweep}: none has yet`);
  }
  return UUID.test(text) ? text : (await meant(api, text, 'run')).id;
}

export const runIds = (api: LoomClient, texts: readonly string[]): Promise<string[]> =>
  Promise.all(texts.map((text) => runId(api, text)));

/** The id of the sweep that is meant. @throws UsageError where none is, or several are */
export const sweepId = async (api: LoomClient, text: string): Promise<string> =>
  UUID.test(text) ? text : (await meant(api, text, 'sweep')).id;

/** A filter with the id of the sweep that it names. @throws as `sweepId` */
export const filterWithId = async <Filter extends { sweep?: string | undefined }>(
  api: LoomClient,
  filter: Filter,
): Promise<Filter> => (filter.sweep === undefined ? filter : { ...filter, sweep: await sweepId(api, filter.sweep) });

/** What is meant, be it a run or a sweep; undefined for a whole id, which may be of either. @throws as `runId` */
export async function runOrSweep(api: LoomClient, text: string): Promise<{ id: string; type?: Reference['type'] }> {
  if (text.startsWith(BEST)) return { type: 'run', id: await runId(api, text) };
  return UUID.test(text) ? { id: text } : meant(api, text);
}

async function meant(api: LoomClient, text: string, type?: Reference['type']): Promise<Reference> {
  const all = await api.references(text, type);
  if (all.length === 1) return all[0]!;
  const what = type === undefined ? 'run or sweep' : type;
  if (all.length === 0)
    throw new UsageError(
      `expected the name of a ${what}, or its id or 4 signs or more of its beginning or end, got ${text}: ` +
        'there is no such one',
    );
  throw new UsageError(
    `expected one ${what}, but ${text} may be any of these: ` +
      all.map(({ id, name }) => (name === null ? id : `${id} (${name})`)).join(', '),
  );
}
