/**
 * What is made from openapi.json: the document is held against three validators, and clients of four generators, in two
 * languages, each submit a run that names only what has no default and read it back from a real API.
 */
import { execFile } from 'node:child_process';
import { cp, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { generatorsFolder } from '../../scripts/setup/clients.mjs';
import { startApi, type Api } from '../support/api.js';

const ROOT = path.resolve(import.meta.dirname, '..', '..');
const DOCUMENT = path.join(ROOT, 'openapi.json');
const MINUTES = 60_000;

let tools: string;
/** Programs, and what is generated for them. Below the tools, whose packages they find there. */
let work: string;
let api: Api;

beforeAll(async () => {
  tools = await generatorsFolder();
  work = await mkdtemp(path.join(tools, 'work-'));
  await cp(path.join(import.meta.dirname, 'programs'), work, { recursive: true });
  api = await startApi();
});
afterAll(async () => {
  await api.stop();
  await rm(work, { recursive: true, force: true });
});

/** Runs a program to its end. @throws with what it said */
async function ran(command: string, ...args: string[]): Promise<string> {
  const { stdout, stderr } = await promisify(execFile)(command, args, {
    cwd: work,
    maxBuffer: 64 * 2 ** 20,
    env: { ...process.env, NO_COLOR: '1', REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true' },
  }).catch((error: Error & { stdout?: string; stderr?: string }) => {
    throw new Error(`${error.message}\n${error.stdout}\n${error.stderr}`);
  });
  return stdout + stderr;
}
const node = (...args: string[]) => ran(process.execPath, ...args);
const bin = (name: string) => path.join(tools, 'node_modules', '.bin', name);
const python = (name: string) => path.join(tools, 'python', 'bin', name);

test(
  'openapi-spec-validator takes the document',
  async () => {
    expect(await ran(python('openapi-spec-validator'), DOCUMENT)).toContain('OK');
  },
  MINUTES,
);

test(
  'Redocly takes the document without a warning',
  async () => {
    expect(await node(bin('redocly'), 'lint', DOCUMENT)).not.toMatch(/warning/i);
  },
  MINUTES,
);

test(
  'Spectral takes the document without a warning',
  async () => {
    await writeFile(path.join(work, 'ruleset.yaml'), 'extends: ["spectral:oas"]\n');
    const said = await node(bin('spectral'), 'lint', '--fail-severity=hint', '-r', 'ruleset.yaml', DOCUMENT);
    expect(said).toContain('No results');
  },
  MINUTES,
);

/** Submits by a program, and looks for the run that it tells of. */
async function expectSubmitted(output: string): Promise<void> {
  const { run, listed } = JSON.parse(output.trim().split('\n').at(-1)!) as {
    run: { id: string; spec: { kind: string; epochs: number; temperature: number } };
    listed: number;
  };
  expect(run.spec).toMatchObject({ kind: 'pretrain', epochs: 2, temperature: 0.1 });
  expect(listed).toBeGreaterThan(0);
  expect((await fetch(`${api.url}/v1/runs/${run.id}`)).status).toBe(200);
}

test(
  'clients of TypeScript',
  async () => {
    const generated = path.join(work, 'generated');
    // Else it takes whatever has a default for required, in requests too.
    const asked = ['--default-non-nullable', 'false'];
    await node(bin('openapi-typescript'), DOCUMENT, '-o', path.join(generated, 'openapi-typescript.d.ts'), ...asked);
    await node(bin('openapi-ts'), '-i', DOCUMENT, '-o', path.join(generated, 'hey-api'), '-c', '@hey-api/client-fetch');
    await node(bin('orval'), '--input', DOCUMENT, '--output', path.join(generated, 'orval.ts'), '--client', 'fetch');
    // By their types what is named is enough: else this fails.
    await node(path.join(ROOT, 'node_modules', 'ts-native', 'bin', 'tsc'), '-p', 'tsconfig.json');
    for (const program of ['openapi-fetch', 'hey-api', 'orval']) {
      const bundle = path.join(work, `${program}.mjs`);
      const how = ['--bundle', '--platform=node', '--format=esm', '--log-level=error', `--outfile=${bundle}`];
      await node(path.join(tools, 'node_modules', 'esbuild', 'bin', 'esbuild'), `${program}.ts`, ...how);
      await expectSubmitted(await node(bundle, api.url, 'shapes'));
    }
  },
  3 * MINUTES,
);

test(
  'a client of Python',
  async () => {
    const output = path.join(work, 'python');
    await ran(python('openapi-python-client'), 'generate', '--path', DOCUMENT, '--output-path', output, '--overwrite');
    await symlink(path.join(output, 'latent_loom_client'), path.join(work, 'latent_loom_client'));
    await expectSubmitted(await ran(python('python'), 'python_client.py', api.url, 'shapes'));
  },
  3 * MINUTES,
);
