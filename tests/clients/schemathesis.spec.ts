/**
 * Requests that Schemathesis makes from openapi.json, right and wrong, against a real API: no answer is an error of the
 * server, and each is as the document says.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { generatorsFolder } from '../../scripts/setup/clients.mjs';
import { startApi, type Api } from '../support/api.js';

const DOCUMENT = path.resolve(import.meta.dirname, '..', '..', 'openapi.json');
/** The same requests in every run, as far as the time goes. */
const SEED = 21;
const SECONDS = 120;

let api: Api;
let work: string;

beforeAll(async () => {
  api = await startApi();
  work = await mkdtemp(path.join(tmpdir(), 'loom-schemathesis-'));
});
afterAll(async () => {
  await api.stop();
  await rm(work, { recursive: true, force: true });
});

test('Schemathesis finds no error of the server, and no answer that the document does not have', async ({
  annotate,
}) => {
  const schemathesis = path.join(await generatorsFolder(), 'python', 'bin', 'schemathesis');
  const checks = [
    'not_a_server_error',
    'status_code_conformance',
    'content_type_conformance',
    'response_headers_conformance',
    'response_schema_conformance',
  ];
  const run = promisify(execFile)(
    schemathesis,
    [
      'run',
      DOCUMENT,
      ...['--url', api.url, '--checks', checks.join(','), '--seed', String(SEED), '--max-time', String(SECONDS)],
      ...['--workers', '1', '--continue-on-failure', '--no-shrink', '--suppress-health-check', 'all'],
      // Streams end with what they tell of.
      ...['--exclude-path-regex', '/stream$'],
    ],
    { cwd: work, maxBuffer: 64 * 2 ** 20, env: { ...process.env, NO_COLOR: '1', COLUMNS: '120' } },
  );
  const said = await run.then(
    ({ stdout }) => stdout,
    (error: Error & { stdout?: string; stderr?: string }) => {
      throw new Error(`${error.stdout ?? error.message}\n${error.stderr ?? ''}`);
    },
  );
  const requests = Number(/Test cases:\s+(\d+) generated/.exec(said)?.[1]);
  await annotate(`${requests} requests`);
  expect(requests).toBeGreaterThan(1000);
}, 300_000);
