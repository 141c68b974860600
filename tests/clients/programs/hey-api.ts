/** A client by @hey-api/openapi-ts. */
import { client } from './generated/hey-api/client.gen';
import { runsGet, runsList, runsSubmit } from './generated/hey-api/sdk.gen';
import { dataset, show, url } from './given';

client.setConfig({ baseUrl: url });
const { data: submitted, error } = await runsSubmit({ body: { spec: { kind: 'pretrain', dataset, epochs: 2 } } });
if (!submitted || !('id' in submitted)) throw new Error(JSON.stringify(error ?? submitted));
const { data: run } = await runsGet({ path: { id: submitted.id } });
const { data: list } = await runsList({ query: { kind: ['pretrain'], limit: 5 } });
show(run, list?.items.length);
