import path from 'node:path';
import { defineConfig } from 'prisma/config';

// The engine that Prisma would download, as the WebAssembly build that npm carries: see prisma/schema-engine.mjs.
process.env['PRISMA_SCHEMA_ENGINE_BINARY'] ??= path.resolve(import.meta.dirname, 'prisma/schema-engine.mjs');

export default defineConfig({
  schema: 'prisma/schema.prisma',
  migrations: { path: 'prisma/migrations' },
  // `generate` needs no database, but the configuration needs a URL.
  // A pooler by transaction lets go of the lock under which migrations run.
  datasource: {
    url: process.env['DATABASE_DIRECT_URL'] || (process.env['DATABASE_URL'] ?? 'postgresql://127.0.0.1:5432/loom'),
  },
});
