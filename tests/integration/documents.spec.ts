/**
 * Every command and snippet of README, the guides and the examples, in order, against a real stack whose trainer trains
 * nothing. What is not run says why, above it in the document.
 */
import { DatasetManifest } from '#libs/contracts';
import { ArtifactStore, Database, Runs } from '#libs/platform';
import { execFile } from 'node:child_process';
import { chmod, cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { knowShapes, shapes } from '../support/shapes.js';
import { inlineCode, snippetsOf, type Snippet } from '../support/snippets.js';
import { startStack, type Stack } from '../support/stack.js';

const ROOT = path.resolve(import.meta.dirname, '..', '..');
const NO_OP = path.join(ROOT, 'dist', 'bench', 'no-op-trainer.js');
/** In the order in which the README names them. */
const DOCUMENTS = ['README.md', 'docs/sweeps.md', 'docs/operations.md', 'docs/cli.md'];

type Document = Record<string, unknown>;

let stack: Stack;
let here: string;
let snippets: Snippet[];

/** A dataset as large as the documents' own, known without having been made; `file`: the sha256 of all its arrays. */
const known = (name: string, perClass: number, file: string) => {
  const split = (count: number) => ({
    samples: file,
    labels: file,
    count: count * 10,
    countPerClass: Array(10).fill(count),
  });
  return DatasetManifest.parse({
    ...shapes,
    name,
    digest: name.length.toString(16).repeat(64).slice(0, 64),
    sample: { modality: 'image', height: 32, width: 32, channels: 3 },
    classes: [...'abcdefghij'],
    splits: { train: split(perClass), val: split(perClass / 10), test: split(perClass / 5) },
  });
};

/** `loom` and `npx loom` mean this checkout's. */
async function writeCommands(folder: string): Promise<void> {
  await mkdir(folder);
  const commands = { loom: `exec '${path.join(ROOT, 'bin', 'loom.mjs')}' "$@"`, npx: 'exec "$@"' };
  for (const [name, text] of Object.entries(commands)) {
    await writeFile(path.join(folder, name), `#!/bin/sh\n${text}\n`);
    await chmod(path.join(folder, name), 0o755);
  }
}

beforeAll(async () => {
  stack = await startStack({ environment: { LOOM_LEASE_MS: '20000', LOOM_HEARTBEAT_MS: '1000' } });
  const database = new Database(stack.database.url);
  const runs = new Runs(database, { dataRoot: stack.dataRoot, leaseMs: 60_000 });
  const arrays = path.join(stack.dir, 'arrays');
  await writeFile(arrays, 'what the trainer does not look at');
  const { sha256 } = await new ArtifactStore(stack.environment['LOOM_ARTIFACTS_DIR']!).put(arrays);
  for (const [name, perClass] of [
    ['cifar10', 5000],
    ['mnist-digits', 1000],
  ] as const)
    await knowShapes(runs, known(name, perClass, sha256));
  await database.close();
  stack.startWorker({ LOOM_TRAINER: NO_OP, LOOM_SLOTS: '4' });
  here = path.join(stack.dir, 'here');
  await mkdir(here);
  await writeCommands(path.join(here, 'bin'));
  await cp(path.join(ROOT, 'examples'), path.join(here, 'examples'), { recursive: true });
  // A sweep of one's own, as `loom init sweep.yaml` or an editor leaves it.
  await cp(path.join(ROOT, 'examples', 'sweep.yaml'), path.join(here, 'sweep.yaml'));
  snippets = (await Promise.all(DOCUMENTS.map((name) => snippetsOf(path.join(ROOT, name), name)))).flat();
}, 90_000);
afterAll(() => stack?.stop());

/** Runs lines of a shell in order. @throws with what they said */
const shell = (script: string) =>
  promisify(execFile)('bash', ['-euo', 'pipefail', '-c', script], {
    cwd: here,
    env: {
      ...process.env,
      PATH: `${path.join(here, 'bin')}:${process.env['PATH']}`,
      LOOM_URL: stack.client.url,
      NO_COLOR: '1',
      HOME: here,
    },
    timeout: 120_000,
  }).then(
    ({ stdout }) => stdout,
    (error: Error & { stdout?: string; stderr?: string }) => {
      throw new Error(`${script}\n${error.stdout}\n${error.stderr || error.message}`);
    },
  );

/** What words in capitals stand for: the run that was submitted under this name, or last. */
const meant = new Map<string, string>();
const withIds = (text: string): string =>
  text.replaceAll(/\b(RUN|LAST|WALK)\b/g, (word) => meant.get(word) ?? meant.get('last') ?? word);

/** What the first line of a snippet says: the command that takes it, or what its run is called from there on. */
function headOf(text: string): { file: string; submits: string; then: string[]; called: string | undefined } {
  const [first = ''] = text.split('\n');
  const called = /^# ([A-Z]+)$/.exec(first)?.[1];
  const command = /^# (loom .+)$/.exec(first)?.[1] ?? `loom submit ${called ?? 'snippet'}.yaml --watch`;
  const [submits = '', ...then] = command.split(' && ');
  return { file: submits.split(' ')[2]!, submits, then, called };
}

/** Plans a sweep, or submits a run as its snippet says and waits for its end. Returns a sweep that is whole. */
async function use({ text, runWith }: Snippet, above: Document): Promise<Document | undefined> {
  const { file, submits, then, called } = headOf(text);
  const own = parse(withIds(text)) as Document;
  const whole = { ...Object.fromEntries(runWith.map((key) => [key, above[key]])), ...own };
  await writeFile(path.join(here, file), runWith.length > 0 ? stringify(whole) : withIds(text));
  if ('stages' in whole) {
    await shell(`loom plan ${file}`);
    return 'stages' in own ? own : undefined;
  }
  const [run] = JSON.parse(await shell(`${submits} --json`)) as { id: string; status: string }[];
  expect(run?.status).toBe('succeeded');
  meant.set(called ?? 'last', run!.id);
  for (const line of then) await shell(withIds(line));
  return undefined;
}

test('what the documents show can be done as it stands', async ({ annotate }) => {
  for (const { at, language, notRun } of snippets)
    expect(['sh', 'yaml', 'text'].includes(language) || notRun !== undefined, `${at}: ${language}`).toBe(true);
  let sweep: Document = {};
  const done: string[] = [];
  for (const snippet of snippets.filter(({ language, notRun }) => language !== 'text' && notRun === undefined)) {
    try {
      if (snippet.language === 'sh') await shell(snippet.text);
      else sweep = (await use(snippet, sweep)) ?? sweep;
    } catch (error) {
      throw new Error(`${snippet.at}: ${(error as Error).message}`, { cause: error });
    }
    done.push(snippet.at);
  }
  const left = snippets.filter(({ notRun }) => notRun !== undefined);
  await annotate(
    `${done.length} snippets were run, ${left.length} left out: ` +
      left.map(({ at, notRun }) => `${at} (${notRun})`).join('; '),
  );
  expect(done.length).toBeGreaterThan(left.length);
}, 170_000);

test('each example can be planned', async () => {
  for (const file of await readdir(path.join(ROOT, 'examples')))
    expect(await shell(`loom plan examples/${file} --json`), file).toContain('"summary"');
}, 90_000);

test('routes that the documents name are in openapi.json', async () => {
  const { paths } = JSON.parse(await readFile(path.join(ROOT, 'openapi.json'), 'utf8')) as {
    paths: Record<string, Record<string, unknown>>;
  };
  const shape = (at: string) => at.replaceAll(/\{[^}]+\}|\b[A-Z]{2,}(@[A-Z]+)?\b/g, '*');
  const routes = new Set(
    Object.entries(paths).flatMap(([at, item]) =>
      Object.keys(item).map((method) => `${method.toUpperCase()} ${shape(at)}`),
    ),
  );
  const named = (await Promise.all(DOCUMENTS.map((name) => inlineCode(path.join(ROOT, name)))))
    .flat()
    .flatMap((code) => /^(GET|POST|PUT|PATCH|DELETE) (\/v1\/[^\s?]+)/.exec(code) ?? [])
    .filter((text) => text.includes(' /v1/'));
  expect(named.length).toBeGreaterThan(10);
  for (const route of named) {
    const [method, at] = route.split(/[ ?]/) as [string, string];
    expect(routes, route).toContain(`${method} ${shape(at)}`);
  }
});
