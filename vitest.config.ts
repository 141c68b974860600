import { defineConfig } from 'vitest/config';

const shared = {
  // Nest's decorators need the legacy form with metadata; libs are imported as sources.
  oxc: { decorator: { legacy: true, emitDecoratorMetadata: true } },
  resolve: { conditions: ['latent-loom-source'] },
  ssr: { resolve: { conditions: ['latent-loom-source'] } },
};

/** Tests that start processes of their own, one file at a time. */
const processes = {
  pool: 'forks' as const,
  globalSetup: ['tests/support/services.ts'],
  testTimeout: 60_000,
  hookTimeout: 60_000,
  fileParallelism: false,
};

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
          include: ['tests/{integration,e2e,faults}/**/*.spec.ts'],
          exclude: ['**/*.slow.spec.ts'],
          ...processes,
        },
      },
      // What somebody would try who means harm: `npm run attacks`.
      { ...shared, test: { name: 'attacks', include: ['tests/attacks/**/*.spec.ts'], ...processes } },
      // What takes minutes: `npm run faults`.
      { ...shared, test: { name: 'slow', include: ['tests/faults/**/*.slow.spec.ts'], ...processes } },
      // Clients generated from openapi.json: `npm run clients`.
      { ...shared, test: { name: 'clients', include: ['tests/clients/**/*.spec.ts'], ...processes } },
      // The dashboard in the system's Chromium: `npm run e2e`.
      {
        ...shared,
        test: {
          name: 'e2e-browser',
          include: ['tests/browser/**/*.spec.ts'],
          ...processes,
          testTimeout: 300_000,
          hookTimeout: 180_000,
        },
      },
    ],
  },
});
