/** Sweeps of as many trials as are allowed, written as rows: submitting and working them off would take minutes. */
import type { Database, SweepStore } from '#libs/platform';
import { alone, sweep } from './sweeps.js';

export const PARAMETERS = 12;

/** A sweep of one trial that waits is given so many more, each with parameters of its own and an end. */
export async function largeSweep(database: Database, sweeps: SweepStore, trials: number): Promise<string> {
  const { sweepId } = await sweeps.submit(
    sweep({ ...alone, parameters: { 'pretrain.temperature': { values: [0.5] } } }),
  );
  await succeed(database, sweepId, 'pretrain', trials, `'{}'`, `jsonb_build_object('eval/knn', random())`);
  const parameters = Array.from({ length: PARAMETERS }, (_, i) => `'pretrain.p${i}', random()`).join(', ');
  await addTrials(database, sweepId, trials, `jsonb_build_object(${parameters})`);
  await fill(database, sweepId, 'pretrain', trials, 'i');
  return sweepId;
}

const FRACTIONS = `(ARRAY[0.01, 0.1, 0.5, 1])[1 + i % 4]`;
/** Each of four augmentations on or off: sixteen combinations. */
const AUGMENTATION = `jsonb_strip_nulls(jsonb_build_object(
  'flip', CASE WHEN (i / 4) & 1 = 0 THEN '{"p": 0.5}'::jsonb END,
  'rotate', CASE WHEN (i / 4) & 2 = 0 THEN '{"maxDegrees": 15, "p": 1}'::jsonb END,
  'grayscale', CASE WHEN (i / 4) & 4 = 0 THEN '{"p": 0.2}'::jsonb END,
  'cutout', CASE WHEN (i / 4) & 8 = 0 THEN '{"size": 0.25, "p": 1}'::jsonb END))`;

/**
 * The same with a finetuning in each trial, beside one from scratch: sixteen combinations of augmentations, four label
 * fractions, and seeds for the rest. A combination is trained once for all its trials.
 */
export async function largeComparison(database: Database, sweeps: SweepStore, trials: number): Promise<string> {
  const { sweepId } = await sweeps.submit(
    sweep({ parameters: { 'pretrain.temperature': { values: [0.5] } }, metric: { name: 'eval/accuracy' } }),
  );
  const spec = `jsonb_build_object('labelFraction', ${FRACTIONS}, 'labelSeed', i / 64, 'seed', i / 64)`;
  const accuracy = `jsonb_build_object('eval/accuracy', random())`;
  await succeed(
    database,
    sweepId,
    'pretrain',
    64,
    `jsonb_build_object('augmentation', ${AUGMENTATION})`,
    `'{"eval/knn": 0.5}'`,
  );
  await succeed(database, sweepId, 'finetune', trials, spec, accuracy);
  await succeed(database, sweepId, 'finetune', trials, spec, accuracy, 'scratch');
  await addTrials(
    database,
    sweepId,
    trials,
    `jsonb_build_object('pretrain.augmentation', ${AUGMENTATION}, 'finetune.labelFraction', ${FRACTIONS},
      'finetune.labelSeed', i / 64, 'finetune.seed', i / 64)`,
  );
  await fill(database, sweepId, 'pretrain', trials, '1 + i % 64');
  await fill(database, sweepId, 'finetune', trials, 'i');
  await fill(database, sweepId, 'finetune', trials, 'i', 'scratch');
  return sweepId;
}

/** Copies of a sweep's run of a stage that have succeeded; `spec` and `metrics` are SQL of `i`, from 1 on. */
const succeed = (
  database: Database,
  sweepId: string,
  stage: string,
  count: number,
  spec: string,
  metrics: string,
  control = '',
) =>
  database.prisma.$executeRawUnsafe(`
    INSERT INTO run
    SELECT copy.*
    FROM run
    CROSS JOIN generate_series(1, ${count}) AS i
    CROSS JOIN LATERAL jsonb_populate_record(run, jsonb_build_object(
      'id', gen_random_uuid(),
      'digest', md5('${sweepId} ${stage} ${control} ' || i),
      'status', 'succeeded',
      'finished_at', now(),
      'spec', run.spec || ${spec},
      'result', jsonb_build_object('metrics', ${metrics}))) AS copy
    WHERE run.id = (
      SELECT run_id
      FROM trial_run
      WHERE sweep_id = '${sweepId}' AND index = 0 AND stage = '${stage}' AND control = '')`);

const addTrials = (database: Database, sweepId: string, trials: number, parameters: string) =>
  database.prisma.$executeRawUnsafe(`
    INSERT INTO trial (sweep_id, index, parameters, position)
    SELECT '${sweepId}', i, ${parameters}, i
    FROM generate_series(1, ${trials}) AS i`);

/** Gives each trial the copy that `copy` says, SQL of `i`. */
const fill = (database: Database, sweepId: string, stage: string, trials: number, copy: string, control = '') =>
  database.prisma.$executeRawUnsafe(`
    INSERT INTO trial_run (sweep_id, index, stage, control, run_id, reused)
    SELECT '${sweepId}', i, '${stage}', '${control}', run.id, false
    FROM generate_series(1, ${trials}) AS i
    JOIN run ON run.digest = md5('${sweepId} ${stage} ${control} ' || (${copy}))`);
