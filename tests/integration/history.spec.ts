/** The checker of histories finds what it is there to find: each kind of broken promise, fed to it one by one. */
import { expect, test } from 'vitest';
import { violations, type RunHistory } from '../support/history.js';

const whole = (): RunHistory => ({
  id: 'r',
  status: 'succeeded',
  attempt: 2,
  totalSteps: 3,
  attempts: [
    { attempt: 1, outcome: 'worker_lost', ended: true },
    { attempt: 2, outcome: 'succeeded', ended: true },
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
  artifacts: [{ name: 'model', attempt: 2, whole: true }],
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
      run.artifacts[0]!.whole = false;
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
