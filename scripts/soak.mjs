#!/usr/bin/env node
/** `npm run soak -- --minutes 10 --seed N`: row 35 of the fault table at length. */
import { spawn } from 'node:child_process';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: { minutes: { type: 'string', default: '10' }, seed: { type: 'string', default: '1' } },
});
for (const [name, value] of Object.entries(values)) {
  if (!(Number(value) > 0)) {
    process.stderr.write(`expected --${name} to be a number above 0, got ${value}\n`);
    process.exit(2);
  }
}
// The table says which faults came how often.
const reporters = ['default', './tests/support/fault-table.ts', './tests/support/summary-reporter.ts'];
const options = ['--project', 'slow*', ...reporters.map((reporter) => `--reporter=${reporter}`)];
const child = spawn('vitest', ['run', ...options, 'tests/faults/soak.slow.spec.ts'], {
  stdio: 'inherit',
  env: { ...process.env, SOAK_MINUTES: values.minutes, SOAK_SEED: values.seed },
});
child.once('exit', (code) => process.exit(code ?? 1));
