/**
 * A trainer that trains nothing: it reports one metric and ends. What is left of a run is what it costs beside its
 * training.
 */
import type { TrainerCommand, TrainerMessage } from '#libs/contracts';

const KEY = 'eval/knn';
const say = (message: TrainerMessage): Promise<void> =>
  new Promise((resolve, reject) => {
    process.send!(message, undefined, {}, (error) => (error ? reject(error) : resolve()));
  });

process.on('disconnect', () => process.exit(1));
process.on('message', (command: TrainerCommand) => {
  if (command.type !== 'start') return;
  const value = 'seed' in command.spec ? command.spec.seed / 1000 : 0;
  void say({ type: 'metrics', points: [{ key: KEY, step: 1, value }] })
    .then(() => say({ type: 'succeeded', result: { metrics: { [KEY]: value } } }))
    .then(() => process.exit(0));
});
await say({ type: 'ready' });
