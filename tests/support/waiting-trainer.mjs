/**
 * The trainer, keeping its last word until the file TEST_LAST_WORD is there, which a line of its log says. A last
 * metric comes just before it.
 */
import { existsSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

const send = process.send.bind(process);
async function sendLate(message, rest) {
  send({ type: 'log', level: 'info', message: 'the last word is kept back' });
  while (!existsSync(process.env.TEST_LAST_WORD)) await delay(20);
  send({ type: 'metrics', points: [{ key: 'test/late', step: 1, value: 1 }] });
  send(message, ...rest);
}
process.send = (message, ...rest) =>
  message.type === 'succeeded' ? void sendLate(message, rest) : send(message, ...rest);
await import('../../dist/apps/worker/src/trainer.js');
