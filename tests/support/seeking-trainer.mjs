/** A trainer that looks for secrets in what it was given, and says what it has found as its last words. */
import { readFileSync } from 'node:fs';

const status = readFileSync('/proc/self/status', 'utf8');
process.on('message', (command) => {
  if (command.type !== 'start') return;
  const found = Object.entries(process.env)
    .filter(([name, value]) => /^(postgres|redis)/.test(value) || /token|password|secret/i.test(name))
    .map(([name]) => name);
  const noNewPrivileges = /^NoNewPrivs:\t(\d)/m.exec(status)?.[1];
  const at = `at /srv/loom/dist/apps/worker/src/trainer.js:1:2`;
  const message = `${JSON.stringify({ found, noNewPrivileges })}\n    ${at}`;
  process.send({ type: 'failed', reason: 'invalid_data', message });
});
process.on('disconnect', () => process.exit(0));
process.send({ type: 'ready', device: 'cpu' });
