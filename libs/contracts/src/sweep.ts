/** What a sweep is told: its stages, what varies between trials, and its limits. */
import { z } from 'zod';
import { AugmentationAlgebra } from './augmentation-algebra.js';
import { Name } from './dataset.js';
import { EarlyTerminate } from './early-stopping.js';
import { Parameter } from './search-space.js';

const stageName = z.string().regex(/^[a-z][a-z0-9_-]{0,31}$/, 'expected a lower-case stage name such as `pretrain`');
/** Controls that a trial is compared with. */
export const CONTROLS = ['scratch', 'random_init_probe'] as const;
export type Control = (typeof CONTROLS)[number];

const runCap = z.int().min(1).max(100_000);
const parallelTrials = z.int().min(1).max(10_000);
const maxFailedTrials = z.int().min(0).max(100_000);
const Budget = z
  .strictObject({ gpu_seconds: z.number().gt(0).optional(), wall_seconds: z.number().gt(0).optional() })
  .refine(
    (budget) => budget.gpu_seconds !== undefined || budget.wall_seconds !== undefined,
    'expected gpu_seconds, wall_seconds or both',
  );

export const SweepSpec = z
  .strictObject({
    name: Name,
    method: z
      .enum(['grid', 'random', 'tpe', 'bayes'])
      .default('grid')
      .describe(
        '`random` draws `run_cap` trials; `tpe` (or `bayes`) draws each from what the trials before it showed. ' +
          'What `augmentations`, `label_fractions` and `seeds` ask for is tried in full for each draw.',
      ),
    metric: z
      .strictObject({
        name: z
          .string()
          .min(1)
          .max(128)
          .optional()
          .describe(
            'Left out: accuracy where something is finetuned or distilled (IoU where pixels get a class), else that ' +
              'of nearest neighbours where something is pretrained or evaluated, else the error of reconstructions.',
          ),
        goal: z
          .enum(['maximize', 'minimize'])
          .optional()
          .describe('Needed where the name does not say it: accuracies go up, losses and errors down.'),
        any_scale: z
          .boolean()
          .optional()
          .describe(
            '`true` ranks by a contrastive loss though temperature, batch size or method vary, which give its values ' +
              'another meaning from trial to trial.',
          ),
      })
      .prefault({}),
    stages: z
      .record(stageName, z.record(z.string(), z.unknown()))
      .refine((stages) => Object.keys(stages).length > 0, 'expected at least one stage'),
    parameters: z.record(z.string().min(1).max(256), Parameter).default({}),
    augmentations: AugmentationAlgebra.optional().describe(
      'Sets `augmentation` of every stage that pretrains (`views` where pairs are on one branch). ' +
        AugmentationAlgebra.description,
    ),
    label_fractions: z
      .array(z.number().gt(0).max(1))
      .min(1)
      .max(100)
      .optional()
      .describe('Sets `labelFraction` of every stage that finetunes. Subsets are nested, and shared by all trials.'),
    seeds: z
      .union([
        z.int().min(1).max(1000),
        z
          .array(
            z
              .int()
              .min(0)
              .max(2 ** 32 - 1),
          )
          .min(1)
          .max(1000),
      ])
      .optional()
      .describe(
        'How many, or which: sets `labelSeed` and `seed` of every stage that finetunes, so that pretrainings are ' +
          'shared.',
      ),
    controls: z
      .array(z.enum(CONTROLS))
      .max(2)
      .refine((controls) => new Set(controls).size === controls.length, 'expected each control once')
      .default([])
      .describe(
        '`scratch`: for each finetune, the same network on the same labels and steps without pretraining. ' +
          '`random_init_probe`: for each evaluate, the same evaluation of an encoder as it was initialised.',
      ),
    run_cap: runCap
      .optional()
      .describe('At most so many trials; a larger grid is refused, never cut. `random` and `tpe` need it.'),
    seed: z
      .int()
      .min(0)
      .max(2 ** 32 - 1)
      .default(0)
      .describe('Seed of what `random` and `tpe` draw: the same seed gives the same trials.'),
    unique: z
      .boolean()
      .optional()
      .describe(
        'Of `random`: whether no draw comes twice, as is the default. `false` draws each independently, as Weights & ' +
          'Biases does; trials that are the same share their runs.',
      ),
    parallel_trials: parallelTrials
      .optional()
      .describe(
        'At most so many trials under way at once; those that wait at a rung are not. `tpe` takes 4 unless told ' +
          'otherwise.',
      ),
    early_terminate: EarlyTerminate.optional().describe(
      'Stops pretrainings that show too little, by online kNN or probe.',
    ),
    max_failed_trials: maxFailedTrials
      .optional()
      .describe('When more trials than this have failed, no other is started.'),
    budget: Budget.optional().describe(
      'When it is spent, the sweep pauses. GPU-seconds are those of the runs that it started; wall time counts ' +
        'from its submit.',
    ),
    order_by: z
      .array(z.string().min(1).max(257))
      .min(1)
      .max(16)
      .optional()
      .describe(
        'Parameters that trials are started in the order of, `-` before one for the highest first. Default: ' +
          'pretrainings that are new first, then as laid out.',
      ),
    on_duplicate: z
      .enum(['reuse', 'reject', 'replicate'])
      .default('reuse')
      .describe(
        "A trial whose runs all exist already, or are another trial's: `reuse` takes them, `reject` refuses the " +
          'sweep, `replicate` trains them anew (trials of one sweep share their parents all the same).',
      ),
  })
  .meta({
    id: 'SweepSpec',
    description:
      'A sweep in the dialect of Weights & Biases (`method`, `metric`, `parameters`, `run_cap`) plus `stages`: ' +
      "run specs of which one takes the result of another by naming it in `from`. A parameter's name is the path " +
      'of the field it sets, `<stage>.<field>[.<field>…]`.',
  });
export type SweepSpec = z.infer<typeof SweepSpec>;
const TPE_PARALLEL = 4;

export const SweepChanges = z
  .strictObject({
    parallel_trials: parallelTrials.nullable().optional(),
    run_cap: runCap.optional(),
    max_failed_trials: maxFailedTrials.nullable().optional(),
    budget: Budget.nullable().optional(),
  })
  .meta({ id: 'SweepChanges', description: 'What may be changed of a sweep while it runs; null lifts a limit.' });
export type SweepChanges = z.infer<typeof SweepChanges>;

/** True where each trial is drawn from the results of those before it. */
export const isModelled = ({ method }: Pick<SweepSpec, 'method'>): boolean => method === 'tpe' || method === 'bayes';
/** How many trials may be under way at once. */
export const parallelTrialsOf = (sweep: SweepSpec): number =>
  sweep.parallel_trials ?? (isModelled(sweep) ? TPE_PARALLEL : Number.POSITIVE_INFINITY);
/** True where the sweep is more than runs that are laid out at once: the leader then looks after it. */
export const isSteered = (sweep: SweepSpec): boolean =>
  isModelled(sweep) ||
  sweep.parallel_trials !== undefined ||
  sweep.early_terminate !== undefined ||
  sweep.max_failed_trials !== undefined ||
  sweep.budget !== undefined;

/** A fault of a submitted document: `path` is the field, as keys and indices from its root. */
export interface Fault {
  path: (string | number)[];
  message: string;
}

export class InvalidSweepError extends Error {
  constructor(readonly faults: Fault[]) {
    super(faults.map((fault) => `${fault.path.join('.')}: ${fault.message}`).join('; '));
    this.name = 'InvalidSweepError';
  }
}
