import { defineConfig } from 'vitest/config';
import SlowFirst from './tests/support/slow-first.js';

const shared = {
  // Nest's decorators need the legacy form with metadata; libs are imported as sources.
  oxc: { decorator: { legacy: true, emitDecoratorMetadata: true } },
  resolve: { conditions: ['latent-loom-source'] },
  ssr: { resolve: { conditions: ['latent-loom-source'] } },
};

/** Tests against servers of their own, with processes that they start. */
const processes = {
  pool: 'forks' as const,
  globalSetup: ['tests/support/services.ts'],
  testTimeout: 60_000,
  hookTimeout: 60_000,
  // As long as `eventually()` asks: on a busy machine a page has what it asked for after more than a second.
  expect: { poll: { timeout: 15_000 } },
};

/**
 * Test files of one subject. They mostly wait, for leases, pauses and polls, so that two run at a time. Two sorts are
 * projects of their own, which run when all others are through (`--project 'NAME*'` runs all three): what holds how
 * long something takes and uses little of a machine is `calm`, two files at a time too; what overloads servers, or
 * measures, is `alone`, one after the other.
 */
function suite(
  name: string,
  files: { include: string[]; exclude?: string[]; calm?: string[]; alone?: string[] },
  timeouts: { testTimeout?: number; hookTimeout?: number } = {},
) {
  const { include, exclude = [], calm = [], alone = [] } = files;
  const test = { ...processes, ...timeouts };
  const sorts = [
    { ...test, name, include, exclude: [...exclude, ...calm, ...alone], maxWorkers: 2 },
    { ...test, name: `${name}-calm`, include: calm, maxWorkers: 2, sequence: { groupOrder: 2 } },
    { ...test, name: `${name}-alone`, include: alone, fileParallelism: false },
  ];
  return sorts.filter((each) => each.include.length > 0).map((each) => ({ ...shared, test: each }));
}

export default defineConfig({
  test: {
    reporters: ['default', './tests/support/summary-reporter.ts'],
    sequence: { sequencer: SlowFirst },
    projects: [
      // Native TensorFlow does not survive worker threads: one child process per test file.
      {
        ...shared,
        test: {
          name: 'unit',
          include: ['apps/**/*.spec.ts', 'libs/**/*.spec.ts', 'scripts/**/*.spec.ts'],
          pool: 'forks',
          testTimeout: 30_000,
          hookTimeout: 60_000,
          maxWorkers: '100%',
          // Projects whose numbers of workers differ can't be in one group.
          sequence: { groupOrder: 1 },
        },
      },
      ...suite('integration', {
        include: ['tests/integration/**/*.spec.ts'],
        alone: ['tests/integration/*event-loop.spec.ts'],
      }),
      // Servers and processes that end at the wrong moment.
      ...suite('faults', {
        include: ['tests/{faults,e2e}/**/*.spec.ts'],
        exclude: ['**/*.slow.spec.ts'],
        calm: ['tests/faults/{dispatch,redis}.spec.ts'],
      }),
      // What takes minutes: `npm run faults`.
      ...suite('slow', {
        include: ['tests/faults/**/*.slow.spec.ts'],
        calm: ['tests/faults/soak.slow.spec.ts'],
        alone: ['tests/faults/load.slow.spec.ts'],
      }),
      // What somebody would try who means harm: `npm run attacks`.
      ...suite('attacks', {
        include: ['tests/attacks/**/*.spec.ts'],
        alone: ['tests/attacks/{clients,slow}.spec.ts'],
      }),
      // Clients generated from openapi.json: `npm run clients`.
      ...suite('clients', { include: ['tests/clients/**/*.spec.ts'] }),
      // The dashboard in the system's Chromium: `npm run e2e`.
      ...suite(
        'e2e-browser',
        {
          include: ['tests/browser/**/*.spec.ts'],
          calm: ['tests/browser/restarts.spec.ts'],
          alone: ['tests/browser/many-points.spec.ts'],
        },
        { testTimeout: 300_000, hookTimeout: 180_000 },
      ),
    ],
  },
});
