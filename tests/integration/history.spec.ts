/** The checker of histories finds what it is there to find: each kind of broken promise, fed to it one by one. */
import { expect, test } from 'vitest';
import { overdue, violations, type RunHistory, type WorkerHistory } from '../support/history.js';

const MODEL = { sha256: 'a'.repeat(64), sizeBytes: 3 };

const whole = (): RunHistory => ({
  id: 'r',
  status: 'succeeded',
  attempt: 2,
  totalSteps: 3,
  attempts: [
    { attempt: 1, outcome: 'worker_lost', ended: true, workerId: 'w1', from: 2000, until: 5000 },
    { attempt: 2, outcome: 'succeeded', ended: true, workerId: 'w2', from: 6000, until: 9000 },
  ],
  events: [
    { attempt: 0, type: 'submitted', status: 'queued', by: null },
    { attempt: 1, type: 'status', status: 'running', by: null },
    { attempt: 1, type: 'status', status: 'queued', by: null },
    { attempt: 2, type: 'status', status: 'running', by: null },
    { attempt: 2, type: 'artifact', status: null, by: null },
    { attempt: 2, type: 'status', status: 'succeeded', by: null },
  ],
  metrics: [1, 2, 3].map((step) => ({ key: 'train/loss', step, attempt: step === 1 ? 1 : 2 })),
  lines: [{ attempt: 1 }, { attempt: 2 }],
  artifacts: [{ name: 'model', attempt: 2, step: null, ...MODEL, file: MODEL }],
  waits: [
    { from: 0, until: 2000 },
    { from: 5000, until: 6000 },
  ],
});
const broken = (change: (run: RunHistory) => void): string[] => {
  const run = whole();
  change(run);
  return violations([run], ['r']);
};

test('a run that was lost, went on and succeeded is as it should be', () => {
  expect(violations([whole()], ['r'])).toEqual([]);
});

test.each([
  [
    'has not ended',
    (run: RunHistory) => {
      run.status = 'running';
    },
  ],
  [
    'had ended as succeeded and became failed',
    (run: RunHistory) => {
      run.status = 'failed';
      run.events.push({ attempt: 2, type: 'status', status: 'failed', by: null });
    },
  ],
  [
    'went from queued to succeeded',
    (run: RunHistory) => {
      run.events.splice(3, 1);
    },
  ],
  [
    'and its last event says',
    (run: RunHistory) => {
      run.events.pop();
    },
  ],
  [
    'is at attempt 2 and has had 1',
    (run: RunHistory) => {
      run.attempts.pop();
    },
  ],
  [
    'that never ended',
    (run: RunHistory) => {
      run.attempts[0]!.ended = false;
    },
  ],
  [
    '2 successful attempts',
    (run: RunHistory) => {
      run.attempts[0]!.outcome = 'succeeded';
    },
  ],
  [
    'a metric of attempt 1 after one of attempt 2',
    (run: RunHistory) => {
      run.metrics.push({ key: 'eval/knn', step: 3, attempt: 1 });
    },
  ],
  [
    'a log line of attempt 1 after',
    (run: RunHistory) => {
      run.lines.push({ attempt: 1 });
    },
  ],
  [
    'an event of attempt 1 after'.replace('an', 'a'),
    (run: RunHistory) => {
      run.events.splice(5, 0, { attempt: 1, type: 'artifact', status: null, by: null });
    },
  ],
  [
    'two values of train/loss at step 2',
    (run: RunHistory) => {
      run.metrics.push({ key: 'train/loss', step: 2, attempt: 2 });
    },
  ],
  [
    'lacks train/loss at step 2',
    (run: RunHistory) => {
      run.metrics.splice(1, 1);
    },
  ],
  [
    'at 2 of 3 steps',
    (run: RunHistory) => {
      run.metrics.pop();
    },
  ],
  [
    'whose file is not what its row says',
    (run: RunHistory) => {
      run.artifacts[0]!.file = { ...MODEL, sha256: 'b'.repeat(64) };
    },
  ],
  [
    'model whose file is not what its row says',
    (run: RunHistory) => {
      run.artifacts[0]!.sizeBytes = 4;
    },
  ],
  [
    'whose file is missing',
    (run: RunHistory) => {
      run.artifacts[0]!.file = null;
    },
  ],
  [
    'has twice artifact model of sha256 aaaaaaaaaaaa',
    (run: RunHistory) => {
      run.artifacts.unshift({ ...run.artifacts[0]!, attempt: 1 });
    },
  ],
  [
    'has twice artifact model at step 3 of attempt 2',
    (run: RunHistory) => {
      const other = 'b'.repeat(64);
      run.artifacts = [MODEL, { ...MODEL, sha256: other }].map((bytes) => ({
        ...run.artifacts[0]!,
        ...bytes,
        file: bytes,
        step: 3,
      }));
    },
  ],
  [
    'has twice artifact model of attempt 2',
    (run: RunHistory) => {
      run.artifacts.push({ ...run.artifacts[0]! });
    },
  ],
  [
    'has twice event artifact {"name": "model"} of attempt 2',
    (run: RunHistory) => {
      const twice = { attempt: 2, type: 'artifact', status: null, by: null, said: '{"name": "model"}' };
      run.events.splice(5, 0, twice, twice);
    },
  ],
  [
    'has twice log line "going on" of attempt 2',
    (run: RunHistory) => {
      run.lines.push({ attempt: 2, message: 'going on' }, { attempt: 2, message: 'going on' });
    },
  ],
])('%s', (fault, change) => {
  expect(broken(change).join('\n')).toContain(fault);
});

test('a run that was accepted and is gone', () => {
  expect(violations([whole()], ['r', 'lost'])).toEqual(['run lost was accepted and is gone']);
});

test('artifacts of one name, of other steps or other bytes, are no doubles', () => {
  const run = whole();
  const [model] = run.artifacts;
  const other = { ...MODEL, sha256: 'b'.repeat(64) };
  run.artifacts = [
    { ...model!, attempt: 1 },
    { ...model!, ...other, file: other },
    { ...model!, step: 1 },
    { ...model!, step: 2 },
  ];
  expect(violations([run], ['r'])).toEqual([]);
});

/** Alive all the time of the history of `whole`, the first of them until its end. */
const WORKERS: WorkerHistory[] = [
  { id: 'w1', slots: 1, from: 0, until: 5000 },
  { id: 'w2', slots: 1, from: 1000, until: 60_000 },
];
const waiting = (from: number, until: number): RunHistory => ({
  ...whole(),
  id: 's',
  attempts: [],
  waits: [{ from, until }],
});

test('a run that waited while a slot was free, no longer than it may, is as it should be', () => {
  expect(overdue([whole()], WORKERS, 2000)).toEqual([]);
});

test.each<[string, RunHistory[], WorkerHistory[], string[]]>([
  ['a slot was free all the time', [waiting(0, 11_000)], WORKERS, ['11.0 s']],
  ['one of two slots was free', [whole(), waiting(0, 20_000)], [{ ...WORKERS[1]!, slots: 2 }], ['19.0 s']],
  ['a slot became free', [whole(), waiting(6000, 20_000)], [WORKERS[1]!], ['11.0 s']],
  [
    'first one worker had a slot free and then another',
    [waiting(0, 11_000)],
    [
      { ...WORKERS[0]!, until: 6000 },
      { ...WORKERS[1]!, from: 5000 },
    ],
    ['11.0 s'],
  ],
  ['the only slot was taken', [whole(), waiting(6000, 18_000)], [WORKERS[1]!], []],
  ['no worker was alive', [waiting(60_000, 90_000)], WORKERS, []],
  ['none was alive in between', [waiting(0, 12_000)], [WORKERS[0]!, { ...WORKERS[1]!, from: 6000 }], []],
])('a wait of over 10 s while %s', (_, histories, workers, found) => {
  const said = overdue(histories, workers, 10_000);
  expect(said).toEqual(found.map((each) => `run s waited for ${each} while a worker had a slot free`));
});
