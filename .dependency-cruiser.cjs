/** Which part may know which: the arrows of the architecture. */
const only = (name, from, allowed, comment) => ({
  name,
  comment,
  severity: 'error',
  from: { path: from, pathNot: '\\.spec\\.ts$' },
  to: { path: '^(apps|libs|bench|tests|scripts)/', pathNot: [from, ...allowed] },
});
const never = (name, from, to, comment) => ({ name, comment, severity: 'error', from, to });

const CLIENTS = 'node_modules/(pg|@prisma|prisma|bullmq|ioredis)/';

module.exports = {
  forbidden: [
    only('contracts-know-nobody', '^libs/contracts/', [], 'contracts are zod only and run in a browser'),
    only('search-knows-contracts', '^libs/search/', ['^libs/contracts/']),
    only('tensorflow-knows-nobody', '^libs/tensorflow/', []),
    only('data-knows-tensorflow', '^libs/data/', ['^libs/contracts/', '^libs/tensorflow/']),
    only('training-knows-data', '^libs/training/', ['^libs/data/', '^libs/contracts/', '^libs/tensorflow/']),
    only('platform-knows-contracts-and-search', '^libs/platform/', ['^libs/contracts/', '^libs/search/']),
    only('api-knows-platform', '^apps/api/', ['^libs/platform/', '^libs/contracts/']),
    only(
      'cli-knows-contracts',
      '^apps/cli/',
      [
        '^libs/contracts/',
        '^libs/platform/src/(index|machine/(local-services|local-server|child-process|process-identity|file-lock|rotating-log|temporary-folder))',
      ],
      'of platform only what brings up services and processes on one machine',
    ),
    only(
      'web-knows-contracts',
      '^apps/web/',
      ['^libs/contracts/', '^libs/data/src/sound\\.ts$'],
      'of data only how sounds become spectrograms, so that an encoder in the page sees what it was trained on',
    ),
    only('worker-knows-all-libs', '^apps/worker/', ['^libs/']),
    never(
      'api-never-trains',
      { path: '^apps/api/' },
      { path: 'node_modules/@tensorflow/', reachable: true },
      'a native step would block every request',
    ),
    never(
      'worker-never-trains',
      { path: '^apps/worker/src/main' },
      { path: 'node_modules/@tensorflow/', reachable: true },
      'a native step would block the heartbeats',
    ),
    never(
      'trainer-only-computes',
      { path: '^apps/worker/src/trainer\\.ts$' },
      { path: `(${CLIENTS}|node_modules/@nestjs/|^libs/platform/)`, reachable: true },
      'the trainer knows files and numbers',
    ),
    never(
      'only-platform-does-io',
      { path: '^(apps|libs)/', pathNot: ['^libs/platform/', '\\.spec\\.ts$'] },
      { path: CLIENTS },
    ),
    never(
      'queue-at-the-roots',
      {
        path: '^(apps|libs)/',
        pathNot: ['^apps/api/src/app\\.module', '^apps/worker/src/(worker\\.module|run-consumer)'],
      },
      { path: 'node_modules/@nestjs/bullmq/' },
      'Nest opens the queue; what is done with it is in libs/platform',
    ),
    never('contracts-in-a-browser', { path: '^libs/contracts/src/(?!.*\\.spec\\.ts$)' }, { dependencyTypes: ['core'] }),
    never('no-cycles', {}, { circular: true }),
    never(
      'no-orphans',
      { orphan: true, pathNot: ['\\.spec\\.ts$', '\\.d\\.ts$', 'vite(\\.report)?\\.config\\.ts$'] },
      {},
    ),
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^libs/platform/src/generated/' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['latent-loom-source', 'import', 'require', 'node', 'default', 'types'],
    },
  },
};
