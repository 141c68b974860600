/** Weights that were trained elsewhere, from a file to runs that begin with them, on real processes. */
import type { LoomClient } from '#libs/contracts';
import { cp, mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { writeImageFolder } from '../support/images.js';
import { kerasModel, writeModel } from '../support/layers-models.js';
import { drawnResNet, writeTensorsTo } from '../support/safetensors.js';
import { snippetsOf } from '../support/snippets.js';
import { refusal, startStack, type Stack } from '../support/stack.js';
import { piped } from '../support/terminal.js';

const GUIDE = path.resolve(import.meta.dirname, '..', '..', 'docs', 'models.md');
const SPLIT = { evalSplit: 'test' } as const;
let stack: Stack;
let client: LoomClient;
let cwd: string;

beforeAll(async () => {
  stack = await startStack({ environment: { LOOM_TRAINER_THREADS: '2', LOOM_LEASE_MS: '45000' } });
  ({ client } = stack);
  cwd = path.join(stack.dir, 'here');
  await mkdir(cwd);
  await writeImageFolder(path.join(stack.dataRoot, 'stripes'), { classes: 3, perClass: 40 });
  stack.startWorker();
  await stack.ended(await stack.submit({ kind: 'prepare-dataset', name: 'cifar10', path: 'stripes', imageSize: 16 }));
}, 90_000);
afterAll(() => stack?.stop());

const loom = async (args: readonly string[], input?: string): Promise<string> => {
  const { code, stdout, stderr } = await piped(args, {
    cwd,
    env: { LOOM_URL: client.url },
    ...(input !== undefined && { input }),
  }).ended;
  expect(code, `loom ${args.join(' ')}: ${stdout}${stderr}`).toBe(0);
  return stdout;
};
const metricsOf = async (id: string) => (await stack.ended(id)).result!.metrics;

test('the guide’s ResNet-18 of torchvision’s and Keras model are evaluated and trained, as it stands', async () => {
  await writeTensorsTo(path.join(stack.dataRoot, 'resnet18.safetensors'), drawnResNet([2, 2, 2, 2], false));
  await writeModel(kerasModel(), path.join(stack.dataRoot, 'network'));
  const ran: string[] = [];
  for (const { language, text, notRun } of await snippetsOf(GUIDE, 'docs/models.md')) {
    if (notRun !== undefined) continue;
    if (language === 'sh') for (const line of text.split('\n')) await loom(line.split(' ').slice(1));
    else await loom(['submit', '-', '--watch'], text);
    ran.push(language);
  }
  expect(ran).toEqual(['sh', 'yaml', 'yaml', 'yaml', 'sh', 'yaml']);
  const { manifest, runId } = await client.model('resnet18');
  expect(manifest).toMatchObject({
    encoder: { name: 'resnet18', width: 64, stem: 'imagenet', normalisation: { mean: [0.485, 0.456, 0.406] } },
    sample: { height: 224, width: 224, channels: 3 },
  });
  const children = (await client.runs({ parent: runId, limit: 10 })).items;
  expect(children.map(({ kind }) => kind).sort()).toEqual(['evaluate', 'finetune', 'pretrain']);
  expect(children.find(({ kind }) => kind === 'pretrain')!.spec).toMatchObject({ encoder: manifest.encoder });
  expect(await loom(['models', 'show', 'resnet18'])).toContain('normalised by mean 0.485, 0.456, 0.406');
  const own = await client.model('network');
  expect(own.manifest).toMatchObject({
    encoder: { name: 'layers', features: 'predictions' },
    sample: { height: 8, width: 8, channels: 3 },
  });
  expect(own.manifest.layers!.at(-2)).toEqual({ name: 'pool', shape: [12], parameters: 0 });
  const [trained] = (await client.runs({ parent: own.runId, limit: 10 })).items;
  expect(trained).toMatchObject({
    status: 'succeeded',
    spec: { kind: 'pretrain', encoder: { name: 'layers', model: own.runId, features: 'pool' } },
  });
}, 170_000);

/** A tiny encoder of this installation, exported, its file in the data root; the run that trained it. */
async function exported(file: string, seed: number): Promise<string> {
  const trained = await stack.submit({
    kind: 'pretrain',
    dataset: 'cifar10',
    encoder: { width: 4, normalisation: { mean: [0.4], std: [0.3] } },
    batchSize: 16,
    epochs: 1,
    knn: { k: 5 },
    seed,
    ...SPLIT,
  });
  const id = await stack.submit({ kind: 'export', from: trained, formats: ['safetensors'] });
  await stack.ended(id);
  const { sha256 } = (await client.artifacts(id)).items.find(({ name }) => name === 'encoder.safetensors')!;
  const stored = path.join(stack.environment['LOOM_ARTIFACTS_DIR']!, 'sha256', sha256.slice(0, 2), sha256);
  await cp(stored, path.join(stack.dataRoot, file));
  return trained;
}

test('an export that is taken in gives what its own run gives; runs are told apart by its content', async () => {
  const trained = await exported('encoder.safetensors', 1);
  await loom(['models', 'add', 'mine', 'encoder.safetensors']);
  const model = await client.model('mine');
  const evaluation = { kind: 'evaluate', dataset: 'cifar10', knn: { k: 5 }, ...SPLIT } as const;
  const [own, taken] = await Promise.all([
    stack.submit({ ...evaluation, from: trained }),
    stack.submit({ ...evaluation, from: 'model mine' }),
  ]);
  expect(await metricsOf(taken)).toEqual(await metricsOf(own));
  const run = await client.run(taken);
  expect(run.spec).toMatchObject({ from: model.runId });
  expect(run.parents).toEqual([model.runId]);

  // The same weights under another name and by another run are the same parent; other weights are not.
  await cp(path.join(stack.dataRoot, 'encoder.safetensors'), path.join(stack.dataRoot, 'copy.safetensors'));
  await loom(['models', 'add', 'twin', 'copy.safetensors']);
  expect((await client.model('twin')).digest).toBe(model.digest);
  expect(await client.submitRun({ spec: { ...evaluation, from: 'model twin' } })).toMatchObject({
    created: false,
    run: { id: taken },
  });
  expect(await client.why(taken)).toMatchObject({ digest: run.digest });
  await exported('encoder.safetensors', 2);
  await loom(['models', 'add', 'mine', 'encoder.safetensors']);
  expect((await client.model('mine')).digest).not.toBe(model.digest);
  const other = await client.submitRun({ spec: { ...evaluation, from: 'model mine' } });
  expect(other.created).toBe(true);
  expect(other.run.digest).not.toBe(run.digest);
  const older = await client.submitRun({ spec: { ...evaluation, from: `model mine@${model.digest.slice(0, 12)}` } });
  expect(older).toMatchObject({ created: false, run: { id: taken } });
  await stack.ended(other.run.id);

  const map = await stack.submit({
    kind: 'embed',
    dataset: 'cifar10',
    from: 'model mine',
    split: 'train',
    maps: ['pca'],
  });
  const written = await stack.submit({ kind: 'export', from: 'model mine' });
  await stack.ended(map);
  expect((await metricsOf(written))['export/tfjs_difference']).toBeLessThan(1e-5);
}, 170_000);

test('layers of a model are an encoder by what they are; what they can’t be is refused where it is named', async () => {
  const own = await client.model('network');
  const spec = {
    kind: 'finetune',
    dataset: 'cifar10',
    from: null,
    encoder: { model: 'network', features: 'pool' },
    batchSize: 8,
    steps: 3,
    ...SPLIT,
  } as const;
  const tuned = await stack.submit(spec);
  await loom(['models', 'add', 'same', 'network/model.json']);
  expect((await client.model('same')).digest).toBe(own.digest);
  const again = { ...spec, encoder: { model: `same@${own.digest.slice(0, 12)}`, features: 'pool' } };
  expect(await client.submitRun({ spec: again })).toMatchObject({ created: false, run: { id: tuned } });
  expect(await client.why(tuned)).toMatchObject({ digest: (await client.run(tuned)).digest });
  const other = await client.planRun({ spec: { ...spec, encoder: { model: 'network', features: 'add' } } });
  expect(other).toMatchObject({ newRuns: { finetune: 1 }, memory: { neededMiB: expect.any(Number) as number } });
  expect((await refusal(client.deleteModel(`network@${own.digest.slice(0, 12)}`))).status).toBe(409);
  await stack.ended(tuned);
  // What was made of it needs the model's run no more.
  const mapped = await stack.submit({ kind: 'embed', dataset: 'cifar10', from: tuned, maps: ['pca'], split: 'train' });
  await stack.ended(mapped);

  const faults = async (encoder: object, more: object = {}) =>
    (await refusal(client.submitRun({ spec: { ...spec, ...more, encoder } }))).problem.errors;
  expect(await faults({ model: 'nobody' })).toMatchObject([
    { path: 'spec.encoder.model', message: expect.stringContaining('expected a model (') as string },
  ]);
  expect(await faults({ model: 'network', features: 'pol' })).toMatchObject([
    { path: 'spec.encoder.features', message: expect.stringContaining('did you mean pool?') as string },
  ]);
  expect(await faults({ model: 'resnet18' })).toMatchObject([
    { path: 'spec.encoder.model', message: expect.stringContaining('from: model resnet18') as string },
  ]);
  expect(await faults({ name: 'layers' })).toMatchObject([{ path: 'spec.encoder.model' }]);
  expect(await faults({ model: 'network', stem: 'cifar' })).toMatchObject([{ path: 'spec.encoder.stem' }]);
  expect(await faults({ name: 'resnet18', features: 'pool' })).toMatchObject([{ path: 'spec.encoder.features' }]);
  expect(await faults({ model: 'network' }, { layerDecay: 0.7 })).toMatchObject([{ path: 'spec.layerDecay' }]);

  // Whose maps are not known can't segment: told as it is submitted, however many runs lie between.
  const { encoder: _, ...further } = { ...spec, from: tuned };
  const { run: child } = await client.submitRun({ spec: further, requires: { gpu: { name: 'none-such' } } });
  const started = (await client.runs({ kind: ['pretrain'], parent: own.runId, limit: 1 })).items[0]!.id;
  for (const from of ['model network', started, tuned, child.id]) {
    const segmenting = { ...further, from, task: 'segmentation' } as const;
    const { status, problem } = await refusal(client.submitRun({ spec: segmenting }));
    expect(status).toBe(422);
    expect(problem.errors, from).toContainEqual({
      path: 'spec.from',
      message: expect.stringContaining('maps of several resolutions for segmentation, got one of layers') as string,
    });
  }
  await client.cancelRun(child.id);
}, 120_000);

test('a model stays as long as a run has begun with it, and its run as long as the model', async () => {
  const { name, digest, runId } = await client.model('twin');
  const version = `${name}@${digest.slice(0, 12)}`;
  expect((await refusal(client.deleteRun(runId))).message).toContain(`model ${version} was taken in by it`);
  expect((await refusal(client.deleteModel(name))).message).toContain('expected a version');
  const spec = { kind: 'evaluate', dataset: 'cifar10', from: `model ${version}`, knn: { k: 3 }, ...SPLIT } as const;
  const { run } = await client.submitRun({ spec, onDuplicate: 'replicate' });
  const refused = await refusal(client.deleteModel(version));
  expect(refused.status).toBe(409);
  expect(refused.message).toContain(run.id);
  await stack.ended(run.id);
  await client.deleteRun(run.id);
  await client.deleteModel(version);
  expect((await refusal(client.model(version))).status).toBe(404);
  await client.deleteRun(runId);
}, 60_000);

test('what can’t be begun with is refused where it is named', async () => {
  const evaluate = { kind: 'evaluate', dataset: 'cifar10', ...SPLIT } as const;
  const faults = async (spec: Parameters<LoomClient['submitRun']>[0]['spec']) =>
    (await refusal(client.submitRun({ spec }))).problem.errors;
  expect(await faults({ ...evaluate, from: 'model nobody' })).toMatchObject([
    {
      path: 'spec.from',
      message: expect.stringMatching(/expected a model \(mine, network, resnet18, same\), got nobody/) as string,
    },
  ]);
  expect(await faults({ ...evaluate, from: 'mine' })).toMatchObject([
    { path: 'spec.from', message: 'expected the id of a run, or `model` with its name, got "mine"' },
  ]);
  const pretrain = { kind: 'pretrain', dataset: 'cifar10', batchSize: 16, ...SPLIT } as const;
  expect(await faults({ ...pretrain, from: 'model mine', encoder: { width: 8 } })).toMatchObject([
    { path: 'spec.encoder', message: "expected no encoder together with `from`: the encoder is the model's" },
  ]);
  const { items } = await client.runs({ kind: ['pretrain'], limit: 1 });
  expect(await faults({ ...pretrain, from: items[0]!.id })).toMatchObject([
    { path: 'spec.from', message: expect.stringContaining('expected a run of kind import-model') as string },
  ]);
  await stack.ended(
    await stack.submit({ kind: 'prepare-dataset', name: 'gray', path: 'stripes', imageSize: 16, channels: 1 }),
  );
  expect(await faults({ ...evaluate, dataset: 'gray', from: 'model mine' })).toMatchObject([
    { path: 'spec.dataset', message: expect.stringContaining('expected images of 3 channels') as string },
  ]);
}, 60_000);

test('a file that does not fit ends its run with each key that is at fault, and there is no model', async () => {
  const tensors = drawnResNet([1, 1, 1, 1], false);
  await writeTensorsTo(path.join(stack.dataRoot, 'short.safetensors'), tensors);
  const importing = { kind: 'import-model', name: 'short', path: 'short.safetensors', as: 'resnet18' } as const;
  const { run } = await client.submitRun({ spec: importing });
  const failed = await stack.ended(run.id, 'failed');
  expect(failed).toMatchObject({ statusReason: 'invalid_data', attempt: 1 });
  expect(failed.statusDetail).toContain('missing: layer1.1.conv1.weight, layer1.1.bn1.weight');
  expect((await refusal(client.model('short'))).status).toBe(404);
  expect((await client.artifacts(run.id)).items).toEqual([]);

  await writeFile(path.join(stack.dir, 'outside.safetensors'), 'x');
  const outside = await refusal(client.submitRun({ spec: { ...importing, path: '../outside.safetensors' } }));
  expect(outside.problem.errors).toMatchObject([{ path: 'spec.path' }]);
  await rm(path.join(stack.dataRoot, 'short.safetensors'));
  const gone = await stack.ended((await client.submitRun({ spec: importing })).run.id, 'failed');
  expect(gone.statusDetail).toContain('expected a safetensors file at short.safetensors in the data root');
}, 60_000);
