/** Runs, sweeps and curves that nobody has trained, as `seed` writes them. */
import { DatasetManifest, RunSpec, SweepSpec, type RunKind } from '#libs/contracts';
import { Random } from '#libs/data';
import { randomUUIDv7 } from 'node:crypto';

export const PRETRAININGS = 12;
export const FINETUNES = 4;
/** Runs of a sweep, and those beside it. */
const SWEEP_RUNS = PRETRAININGS * (1 + FINETUNES);
const DAYS = 60;

const arrays = (perClass: number) => ({
  count: 10 * perClass,
  countPerClass: Array.from({ length: 10 }, () => perClass),
  samples: 'a'.repeat(64),
  labels: 'b'.repeat(64),
});
export const DATASET = DatasetManifest.parse({
  name: 'made-up',
  digest: '5eed'.repeat(16),
  sample: { modality: 'image', height: 32, width: 32, channels: 3 },
  classes: Array.from({ length: 10 }, (_, i) => `class ${i}`),
  splits: { train: arrays(5000), val: arrays(500), test: arrays(500) },
});

/** Where each curve starts and, in the middle, ends; better runs end higher where more is better. */
const CURVES: Record<
  'pretrain' | 'finetune' | 'autoencode',
  [key: string, start: number, end: number, better: number][]
> = {
  pretrain: [
    ['train/loss', 6.2, 4.9, -0.6],
    ['eval/knn', 0.1, 0.45, 0.25],
    ['eval/probe_accuracy', 0.1, 0.5, 0.25],
    ['train/alignment', 0.1, 0.8, 0.1],
    ['train/uniformity', -0.2, -2.4, -0.4],
    ['collapse/std', 0.02, 0.09, 0.01],
    ['train/learning_rate', 0.004, 0, 0],
    ['time/step_ms', 310, 290, -5],
  ],
  finetune: [
    ['train/loss', 2.3, 0.9, -0.5],
    ['eval/accuracy', 0.1, 0.5, 0.25],
    ['eval/loss', 2.3, 1.4, -0.4],
    ['train/accuracy', 0.1, 0.7, 0.2],
    ['train/learning_rate', 0.001, 0, 0],
    ['time/step_ms', 120, 110, -5],
  ],
  autoencode: [
    ['train/loss', 0.09, 0.012, -0.006],
    ['eval/psnr', 9, 21, 3],
    ['eval/mse', 0.1, 0.011, -0.005],
    ['train/kl', 0.4, 0.05, 0],
    ['train/learning_rate', 0.001, 0, 0],
    ['time/step_ms', 210, 200, -5],
  ],
};
const AUGMENTATIONS = ['crop', 'flip', 'colorJitter', 'grayscale', 'blur', 'rotate'];
const FAULTS = [
  ['worker_crash', 'the trainer process ended with SIGSEGV'],
  ['nan_loss', 'the loss is not a number at step 412: lower the learning rate'],
  ['oom', 'not enough memory: lower the batch size or the width'],
] as const;

export interface MadeUp {
  id: string;
  name: string;
  kind: RunKind;
  status: string;
  status_reason: string | null;
  status_detail: string | null;
  digest: string;
  spec: RunSpec;
  tags: string[];
  step: number;
  total_steps: number;
  created_at: string;
  started_at: string;
  finished_at: string;
  result: { metrics: Record<string, number> } | null;
  parent: string | null;
  quality: number;
  curves: { key: string; start: number; end: number }[];
}

/** A status with its reason: of a hundred runs 88 succeed. */
function endingOf(random: Random): [status: string, fault: readonly [reason: string, detail: string | null] | null] {
  const dice = random.uniform();
  if (dice < 0.88) return ['succeeded', null];
  if (dice < 0.94) return ['failed', FAULTS[random.integer(0, FAULTS.length)]!];
  if (dice < 0.97) return ['cancelled', ['user_cancel', null]];
  return ['early_stopped', ['below_median', null]];
}

/** Makes one run; `age` from 0 (now) to 1 (the longest ago). */
function makeUp(
  random: Random,
  kind: keyof typeof CURVES,
  spec: RunSpec,
  name: string,
  tags: string[],
  age: number,
  parent: MadeUp | null,
): MadeUp {
  const quality = Math.min(1, Math.max(0, (parent?.quality ?? random.uniform()) + 0.2 * (random.uniform() - 0.5)));
  const [status, fault] = endingOf(random);
  const total = kind === 'pretrain' ? 1950 : 780;
  const curves = CURVES[kind].map(([key, start, middle, better]) => ({
    key,
    start,
    end: middle + better * (2 * quality - 1) + 0.02 * Math.abs(middle) * (random.uniform() - 0.5),
  }));
  const created = Date.now() - age * DAYS * 86_400_000;
  const started = created + 1000 + 60_000 * random.uniform();
  return {
    id: randomUUIDv7(),
    name,
    kind,
    status,
    status_reason: fault?.[0] ?? null,
    status_detail: fault?.[1] ?? null,
    digest: Array.from({ length: 8 }, () =>
      random
        .integer(0, 2 ** 31)
        .toString(16)
        .padStart(8, '0'),
    ).join(''),
    spec,
    tags,
    step: status === 'succeeded' ? total : Math.ceil(total * random.uniform()),
    total_steps: total,
    created_at: new Date(created).toISOString(),
    started_at: new Date(started).toISOString(),
    finished_at: new Date(
      started + total * (kind === 'pretrain' ? 300 : 115) * (0.8 + 0.4 * random.uniform()),
    ).toISOString(),
    result: status === 'succeeded' ? { metrics: Object.fromEntries(curves.map(({ key, end }) => [key, end])) } : null,
    parent: parent?.id ?? null,
    quality,
    curves,
  };
}

export interface MadeUpSweep {
  id: string;
  spec: SweepSpec;
  createdAt: string;
  trials: { parameters: Record<string, unknown>; pretrain: MadeUp; finetune: MadeUp }[];
}

const [PRETRAIN, AUTOENCODE] = [
  RunSpec.parse({ kind: 'pretrain', dataset: DATASET.name, batchSize: 256, epochs: 10 }),
  RunSpec.parse({ kind: 'autoencode', dataset: DATASET.name, batchSize: 64, epochs: 4 }),
];
const FINETUNE = RunSpec.parse({
  kind: 'finetune',
  dataset: DATASET.name,
  from: '00000000-0000-4000-8000-000000000000',
  labelFraction: 0.01,
});

/** The trials of one sweep: each pretraining with its finetunes at two label fractions and two seeds. */
function makeUpTrials(random: Random, name: string, runs: MadeUp[], age: () => number): MadeUpSweep['trials'] {
  const trials: MadeUpSweep['trials'] = [];
  for (let i = 0; i < PRETRAININGS; i++) {
    const combination = AUGMENTATIONS.filter((_, place) => place === i % 6 || place === Math.floor(i / 2));
    const temperature = [0.07, 0.1, 0.2, 0.5][i % 4]!;
    const spec = { ...PRETRAIN, temperature, seed: i } as RunSpec;
    const parent = makeUp(random, 'pretrain', spec, `${name} ${combination.join('+')}`, ['sweep', name], age(), null);
    runs.push(parent);
    for (let j = 0; j < FINETUNES; j++) {
      const [labelFraction, seed] = [j < 2 ? 0.01 : 0.1, j % 2];
      const run = makeUp(
        random,
        'finetune',
        { ...FINETUNE, from: parent.id, labelFraction, seed, labelSeed: seed } as RunSpec,
        `${parent.name} ${labelFraction * 100} %`,
        ['sweep', name],
        age(),
        parent,
      );
      runs.push(run);
      const parameters = {
        'pretrain.temperature': temperature,
        'pretrain.seed': i,
        'finetune.labelFraction': labelFraction,
        'finetune.seed': seed,
      };
      trials.push({ parameters, pretrain: parent, finetune: run });
    }
  }
  return trials;
}

const sweepSpec = (name: string): SweepSpec =>
  SweepSpec.parse({
    name,
    stages: {
      pretrain: { kind: 'pretrain', dataset: DATASET.name, batchSize: 256, epochs: 10 },
      finetune: { kind: 'finetune', dataset: DATASET.name, from: 'pretrain' },
    },
    label_fractions: [0.01, 0.1],
    seeds: 2,
    parameters: {
      'pretrain.temperature': { values: [0.07, 0.1, 0.2, 0.5] },
      'pretrain.seed': { values: [0, 1, 2] },
    },
  });

/** Sweeps of 12 pretrainings with 4 finetunes each, and two fifths of the runs on their own. */
export function makeUpAll(count: number): { runs: MadeUp[]; sweeps: MadeUpSweep[] } {
  const random = Random.seeded(30_000, 'seed');
  const runs: MadeUp[] = [];
  const sweeps: MadeUpSweep[] = [];
  const age = () => 1 - runs.length / count;
  while (runs.length < count) {
    if (count - runs.length >= SWEEP_RUNS && runs.length % (SWEEP_RUNS + 40) === 0) {
      const name = `sweep-${sweeps.length + 1}`;
      const trials = makeUpTrials(random, name, runs, age);
      sweeps.push({ id: randomUUIDv7(), spec: sweepSpec(name), createdAt: runs.at(-1)!.created_at, trials });
    } else {
      const kind = runs.length % 2 ? 'pretrain' : 'autoencode';
      const spec = { ...(kind === 'pretrain' ? PRETRAIN : AUTOENCODE), seed: runs.length } as RunSpec;
      const tags = [kind, `team-${runs.length % 7}`];
      runs.push(makeUp(random, kind, spec, `${kind} ${runs.length}`, tags, age(), null));
    }
  }
  return { runs, sweeps };
}
