/** A client by openapi-typescript: types made from the document, on openapi-fetch. */
import createClient from 'openapi-fetch';
import type { paths } from './generated/openapi-typescript';
import { dataset, show, url } from './given';

const client = createClient<paths>({ baseUrl: url });
const { data: submitted, error } = await client.POST('/v1/runs', {
  body: { spec: { kind: 'pretrain', dataset, epochs: 2 } },
});
if (!submitted || !('id' in submitted)) throw new Error(JSON.stringify(error ?? submitted));
const { data: run } = await client.GET('/v1/runs/{id}', { params: { path: { id: submitted.id } } });
const { data: list } = await client.GET('/v1/runs', { params: { query: { kind: ['pretrain'], limit: 5 } } });
show(run, list?.items.length);
