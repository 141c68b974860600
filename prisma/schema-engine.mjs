#!/usr/bin/env node
/**
 * Prisma's schema engine without a download. The CLI spawns an engine and speaks JSON-RPC with it, one message a line;
 * this serves the same protocol with the WebAssembly build of the same engine, over node-postgres.
 */
import { PrismaPg } from '@prisma/adapter-pg';
import { bindMigrationAwareSqlAdapterFactory, ColumnTypeEnum } from '@prisma/driver-adapter-utils';
import * as glue from '@prisma/schema-engine-wasm/schema_engine_bg';
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import pg from 'pg';

const CHAR_OID = 18;
const TEXT_OID = 25;

// The CLI reads standard error as JSON: node-postgres warns there of what later versions will take sslmode for.
process.removeAllListeners('warning');

const { values: options } = parseArgs({
  strict: false,
  allowPositionals: true,
  options: { datamodels: { type: 'string', multiple: true }, datasource: { type: 'string' } },
});
const url = options.datasource ? JSON.parse(options.datasource).url : undefined;

/** The URL with all of its options, TLS among them, and another database where one is asked for. */
function connection(database) {
  const target = new URL(url ?? 'postgresql://127.0.0.1:1/');
  if (database !== undefined) target.pathname = `/${encodeURIComponent(database)}`;
  return { connectionString: target.href };
}
const named = () => {
  const { hostname, port, pathname } = new URL(connection().connectionString);
  return { host: hostname, port: port || '5432', database: decodeURIComponent(pathname.slice(1)) };
};

async function execute(config, sql) {
  const client = new pg.Client(config);
  await client.connect();
  try {
    if (sql) await client.query(sql);
  } finally {
    await client.end();
  }
}

const quoted = (name) => `"${name.replaceAll('"', '""')}"`;
const createDatabase = () => execute(connection('postgres'), `CREATE DATABASE ${quoted(named().database)}`);
const dropDatabase = () =>
  execute(connection('postgres'), `DROP DATABASE IF EXISTS ${quoted(named().database)} WITH (FORCE)`);

/** What the engine itself writes of the migration that it runs, a moment after. */
const NOTE_DONE = `
  DO $$
  BEGIN
    IF to_regclass('_prisma_migrations') IS NOT NULL THEN
      UPDATE _prisma_migrations
      SET finished_at = now(),
        applied_steps_count = 1
      WHERE finished_at IS NULL
        AND rolled_back_at IS NULL;
    END IF;
  END
  $$`;

/** PrismaPg, put right where migrations need it to be. */
class MigrationAdapterFactory extends PrismaPg {
  constructor(config = connection()) {
    super(config);
    this.target = config;
  }

  async connect() {
    const adapter = await super.connect();
    // A script goes to the server whole: PrismaPg splits it at every semicolon, also inside a function's body. So it
    // is one transaction, which notes too that the migration is done: one that is not noted has left nothing.
    adapter.executeScript = async (script) => {
      try {
        await adapter.client.query(`${script};\n${NOTE_DONE}`);
      } catch (error) {
        adapter.onError(error);
      }
    };
    // The catalogue has columns of the internal one-byte type "char", which PrismaPg can't read: they are read as text.
    const { performIO, queryRaw } = adapter;
    let chars = [];
    adapter.performIO = async (query) => {
      const result = await performIO.call(adapter, query);
      chars = (result.fields ?? []).flatMap((field, index) => (field.dataTypeID === CHAR_OID ? [index] : []));
      for (const index of chars) result.fields[index].dataTypeID = TEXT_OID;
      return result;
    };
    adapter.queryRaw = async (query) => {
      const result = await queryRaw.call(adapter, query);
      for (const index of chars) result.columnTypes[index] = ColumnTypeEnum.Character;
      return result;
    };
    return adapter;
  }

  /** A database of its own for each shadow, dropped after its connections are closed. */
  async connectToShadowDb() {
    const database = `prisma_migrate_shadow_db_${randomUUID()}`;
    await execute(this.target, `CREATE DATABASE ${quoted(database)}`);
    const shadow = await new MigrationAdapterFactory(connection(database)).connect();
    const dispose = shadow.dispose.bind(shadow);
    shadow.dispose = async () => {
      await dispose();
      await shadow.client.end().catch(() => undefined);
      // Not by force: Postgres waits for what is still connected, and ends autovacuum, which only a superuser may.
      await execute(this.target, `DROP DATABASE IF EXISTS ${quoted(database)}`);
    };
    return shadow;
  }
}

/** Postgres' and the network's errors by Prisma's codes. */
function describe(error) {
  const { host, port, database } = named();
  switch (error?.code) {
    case '3D000':
      return { error_code: 'P1003', message: `Database \`${database}\` does not exist` };
    case '42P04':
      return { error_code: 'P1009', message: `Database \`${database}\` already exists` };
    case '28P01':
      return { error_code: 'P1000', message: 'Authentication failed against database server' };
    case 'ECONNREFUSED':
    case 'ENOTFOUND':
      return { error_code: 'P1001', message: `Can't reach database server at \`${host}:${port}\`` };
    default:
      return { error_code: error?.code ?? null, message: error?.message ?? String(error), meta: error?.meta ?? null };
  }
}

/** `schema-engine cli <command>`: the answer is the exit code; the first line on stderr is skipped by the CLI. */
async function command(name) {
  const commands = {
    'can-connect-to-database': () => execute(connection()),
    'create-database': createDatabase,
    'drop-database': dropDatabase,
  };
  try {
    if (!commands[name]) throw new Error(`expected ${Object.keys(commands).join(', ')}, got ${name}`);
    await commands[name]();
    process.exit(0);
  } catch (error) {
    const { error_code, message } = describe(error);
    process.stderr.write(
      `${JSON.stringify({
        level: 'INFO',
        target: 'schema_engine',
        fields: { message: 'Starting schema engine CLI' },
      })}\n`,
    );
    process.stderr.write(
      JSON.stringify({
        level: 'ERROR',
        target: 'schema_engine::logger',
        fields: { error_code: error_code ?? 'P1010', message },
      }),
    );
    process.exit(1);
  }
}

async function loadEngine() {
  const wasm = createRequire(import.meta.url)
    .resolve('@prisma/schema-engine-wasm/schema_engine_bg')
    .replace(/\.js$/, '.wasm');
  const { instance } = await WebAssembly.instantiate(await readFile(wasm), { './schema_engine_bg.js': glue });
  glue.__wbg_set_wasm(instance.exports);
  instance.exports.__wbindgen_start();
  const datamodels = await Promise.all(
    (options.datamodels ?? []).map(async (file) => [file, await readFile(file, 'utf8')]),
  );
  const log = (line) => process.stderr.write(line.endsWith('\n') ? line : `${line}\n`);
  return glue.SchemaEngine.new(
    { datamodels: datamodels.length ? datamodels : undefined },
    log,
    bindMigrationAwareSqlAdapterFactory(new MigrationAdapterFactory()),
  );
}

async function serve() {
  let loaded;
  const engine = () => (loaded ??= loadEngine());
  const send = (message) => process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
  const methods = {
    getDatabaseVersion: async (params) => (await engine()).version(params),
    ensureConnectionValidity: () => execute(connection()),
    createDatabase: async () => {
      await createDatabase();
      return { databaseName: named().database };
    },
  };
  const answer = async ({ id, method, params }) => {
    try {
      const result = methods[method] ? await methods[method](params) : await (await engine())[method](params);
      // The CLI prints what a diff has to say when it is asked to, by a message of its own.
      if (method === 'diff' && result?.stdout != null)
        send({ id: 1e6 + id, method: 'print', params: { content: result.stdout } });
      send({ id, result: result ?? {} });
    } catch (error) {
      const { error_code, message, meta = null } = describe(error);
      send({
        id,
        error: {
          code: 4466,
          message: 'An error happened. Check the data field for details.',
          data: { is_panic: false, message, meta, error_code },
        },
      });
    }
  };
  // One at a time, in the order in which they came.
  for await (const line of createInterface({ input: process.stdin })) {
    const message = JSON.parse(line);
    if (message.method) await answer(message);
  }
  process.exit(0);
}

if (process.argv.includes('cli')) await command(process.argv.at(-1));
else await serve();
