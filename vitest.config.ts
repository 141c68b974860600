import { defineConfig } from 'vitest/config';

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
};
/** They mostly wait for leases, pauses and polls. */
const twoAtATime = { ...processes, maxWorkers: 2 };
/** Those that overload servers, or ask how long something takes: one file at a time. */
const alone = { ...processes, fileParallelism: false };
const EVENT_LOOP = 'tests/integration/*event-loop.spec.ts';

export default defineConfig({
  test: {
    reporters: ['default', './tests/support/summary-reporter.ts'],
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
        },
      },
      {
        ...shared,
        test: {
          name: 'integration',
          include: ['tests/integration/**/*.spec.ts'],
          exclude: [EVENT_LOOP],
          ...twoAtATime,
        },
      },
      // Servers and processes that end at the wrong moment. Two files at a time disturb each other's waits.
      {
        ...shared,
        test: {
          name: 'faults',
          include: ['tests/{faults,e2e}/**/*.spec.ts'],
          exclude: ['**/*.slow.spec.ts'],
          ...alone,
        },
      },
      { ...shared, test: { name: 'event-loop', include: [EVENT_LOOP], ...alone } },
      // What somebody would try who means harm: `npm run attacks`.
      { ...shared, test: { name: 'attacks', include: ['tests/attacks/**/*.spec.ts'], ...alone } },
      // What takes minutes: `npm run faults`.
      { ...shared, test: { name: 'slow', include: ['tests/faults/**/*.slow.spec.ts'], ...alone } },
      // Clients generated from openapi.json: `npm run clients`.
      { ...shared, test: { name: 'clients', include: ['tests/clients/**/*.spec.ts'], ...alone } },
      // The dashboard in the system's Chromium: `npm run e2e`.
      {
        ...shared,
        test: {
          name: 'e2e-browser',
          include: ['tests/browser/**/*.spec.ts'],
          ...alone,
          testTimeout: 300_000,
          hookTimeout: 180_000,
        },
      },
    ],
  },
});
