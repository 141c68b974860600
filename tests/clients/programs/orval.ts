/** A client by orval, on fetch. */
import { runsGet, runsList, runsSubmit } from './generated/orval';
import { dataset, show, url } from './given';

// The document's server is `/`, which is the page's own: a program names it.
const theirs = globalThis.fetch;
globalThis.fetch = (input, init) => theirs(typeof input === 'string' ? new URL(input, url) : input, init);

const { data: submitted } = await runsSubmit({ spec: { kind: 'pretrain', dataset, epochs: 2 } });
if (!('id' in submitted)) throw new Error(JSON.stringify(submitted));
const { data: run } = await runsGet(submitted.id);
const list = await runsList({ kind: ['pretrain'], limit: 5 });
show(run, list.status === 200 ? list.data.items.length : undefined);
