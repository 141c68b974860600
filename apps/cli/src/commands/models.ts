/** Weights that were trained elsewhere, with which runs begin. */
import {
  isOwnNetwork,
  PUBLISHED_NETWORKS,
  sampleText,
  type ImportModel,
  type Model,
  type ModelManifest,
} from '#libs/contracts';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { belowRoot, dataRootHere } from '../data-root.js';
import { UsageError } from '../usage-error.js';
import { follow } from '../outcome.js';
import { client, out, settings, show } from '../program.js';
import { age, table } from '../render.js';

const numbers = (text: string): number[] => {
  const values = text.split(',').map(Number);
  if (text.trim() === '' || values.some((value) => !Number.isFinite(value)))
    throw new InvalidArgumentError('expected numbers such as 0.485,0.456,0.406');
  return values;
};

export function addModels(program: Command): void {
  const models = program.command('models').description('weights that were trained elsewhere, with which runs begin');
  models
    .command('list')
    .alias('ls')
    .description('list them')
    .action(async () => {
      const page = await (await client()).models({ limit: 500 });
      show(page, () =>
        table(['name', 'digest', 'network', 'width', 'made for', 'parameters', 'age'], rows(page.items), out),
      );
    });
  models
    .command('show <model>')
    .description('what is known of one, `name` (its newest version) or `name@digest`')
    .action(async (reference: string) => {
      const model = await (await client()).model(reference);
      show(model, () => `${aboutText(model.manifest)}taken in by run ${model.runId}, ${age(model.createdAt)} ago\n`);
    });
  models
    .command('delete <version>')
    .alias('rm')
    .description('delete a version, `name@digest`, that no run began with')
    .action(async (version: string) => {
      await (await client()).deleteModel(version);
      show({ deleted: version }, () => `${version} deleted\n`);
    });
  models
    .command('add <name> <path>')
    .description(
      "take in a file below the data root: torchvision's or timm's weights or an export of a run (safetensors), or a " +
        'layers model of tfjs, such as a converted Keras model (model.json), or a checkpoint of SimCLR (.index)',
    )
    .addOption(new Option('--as <network>', 'what weights of other programs are of').choices(PUBLISHED_NETWORKS))
    .option('--mean <numbers>', "of each channel in [0, 1], separated by commas (ImageNet's)", numbers)
    .option('--std <numbers>', "standard deviation of each channel (ImageNet's)", numbers)
    .action(async (name: string, source: string, options: AddOptions) => {
      const { as, mean, std } = options;
      if ((mean === undefined) !== (std === undefined)) throw new UsageError('expected --mean and --std together');
      const api = await client();
      const path = await belowRoot(source, await dataRootHere());
      const normalisation = mean && std && { mean, std };
      const { run } = await api.submitRun({
        spec: { kind: 'import-model', name, path, ...(as && { as }), ...(normalisation && { normalisation }) },
      });
      process.exitCode = await follow(api, [run]);
      const { result } = await api.run(run.id);
      if (result?.model && !settings().json) out.write(aboutText(result.model));
    });
}

interface AddOptions {
  as?: ImportModel['as'];
  mean?: number[];
  std?: number[];
}

const rows = (models: readonly Model[]): string[][] =>
  models.map(({ name, digest, manifest: { encoder, sample, parameters }, createdAt }) => [
    name,
    digest.slice(0, 12),
    encoder.name,
    isOwnNetwork(encoder) ? '' : String(encoder.width),
    sampleText(sample),
    parameters.toLocaleString('en'),
    age(createdAt),
  ]);

function aboutText({ name, digest, encoder, sample, parameters, layers }: ModelManifest): string {
  const { normalisation } = encoder;
  const stem = encoder.stem ? `, stem ${encoder.stem}` : '';
  const network = layers ? `${layers.length} layers` : `${encoder.name}, ${encoder.width} wide${stem}`;
  const input = normalisation
    ? `normalised by mean ${normalisation.mean.join(', ')} and std ${normalisation.std.join(', ')}`
    : 'taken as it is';
  return (
    `model ${name}@${digest.slice(0, 12)}: ${network}, ` +
    `${parameters.toLocaleString('en')} parameters, made for ${sampleText(sample)}\n` +
    `its input in [0, 1] is ${input}\n` +
    (layers ? layersText(encoder.features, layers) : '')
  );
}

/** What `encoder.features` may name, the last one first, as those are what is mostly wanted. */
const layersText = (features: string | undefined, layers: NonNullable<ModelManifest['layers']>): string =>
  table(
    ['layer', 'gives', 'parameters'],
    layers
      .toReversed()
      .map(({ name, shape, parameters }) => [
        name === features ? `${name} (its features, where none are named)` : name,
        shape.join(' x '),
        parameters.toLocaleString('en'),
      ]),
    out,
  );
