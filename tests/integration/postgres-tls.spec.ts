/** A Postgres that is reached over TLS alone, by those who want to know that it is the one. */
import { Database, migrate } from '#libs/platform';
import { execFile } from 'node:child_process';
import { chown, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test, type TestContext } from 'vitest';
import { eventually } from '../support/eventually.js';
import { administer } from '../support/own-postgres.js';
import { ownPostgres, type OwnServer } from '../support/own-services.js';
import { startStack, type Stack } from '../support/stack.js';

const run = promisify(execFile);
const NAME = 'over_tls';
let dir: string;
let postgres: OwnServer;
let stack: Stack | undefined;
let hasOpenssl = false;

/** A certificate that signs itself, for 127.0.0.1: its file, and that of its key. */
async function certificate(name: string): Promise<{ certificate: string; key: string }> {
  const [file, key] = [path.join(dir, `${name}.crt`), path.join(dir, `${name}.key`)];
  const words =
    'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=loom -addext ' +
    'subjectAltName=IP:127.0.0.1';
  await run('openssl', [...words.split(' '), '-keyout', key, '-out', file]);
  return { certificate: file, key };
}

/** The database of this file, verified against a certificate. */
const urlWith = (authority: string, mode = 'verify-full'): string => {
  const url = new URL(postgres.url);
  url.pathname = `/${NAME}`;
  url.searchParams.set('sslmode', mode);
  url.searchParams.set('sslrootcert', authority);
  return url.href;
};

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'loom-tls-'));
  hasOpenssl = await run('openssl', ['version']).then(
    () => true,
    () => false,
  );
  if (!hasOpenssl) return;
  postgres = await ownPostgres();
  const own = await certificate('server');
  await certificate('other');
  await administer(postgres, async (admin) => {
    const { rows } = await admin.query<{ data: string; hba: string }>(
      "SELECT current_setting('data_directory') AS data, current_setting('hba_file') AS hba",
    );
    const { data, hba } = rows[0]!;
    const { uid, gid } = await stat(data);
    for (const [from, to] of [
      [own.certificate, 'server.crt'],
      [own.key, 'server.key'],
    ] as const) {
      await writeFile(path.join(data, to), await readFile(from), { mode: 0o600 });
      await chown(path.join(data, to), uid, gid);
    }
    const role = new URL(postgres.url).username;
    await admin.query(`CREATE DATABASE ${NAME} OWNER "${role}"`);
    // Without TLS nobody gets into it.
    await writeFile(hba, `hostnossl ${NAME} all all reject\n${await readFile(hba, 'utf8')}`);
    await admin.query('ALTER SYSTEM SET ssl = on');
    await admin.query('SELECT pg_reload_conf()');
    await eventually(async () => {
      const { rows: shown } = await admin.query<{ ssl: string }>('SHOW ssl');
      expect(shown).toEqual([{ ssl: 'on' }]);
    });
  });
}, 90_000);
afterAll(async () => {
  await stack?.stop();
  await postgres?.stop();
  await rm(dir, { recursive: true, force: true });
});
const needsOpenssl = (context: TestContext) => {
  if (!hasOpenssl) context.skip('certificates could not be made: there is no openssl');
};

test('migrations, an API and a worker verify who a Postgres is (sslmode=verify-full)', async (context) => {
  needsOpenssl(context);
  const url = urlWith(path.join(dir, 'server.crt'));
  await migrate(url);
  stack = await startStack({ environment: { DATABASE_URL: url } });
  stack.startWorker();
  await eventually(async () => expect((await stack!.client.workers()).map(({ state }) => state)).toEqual(['running']), {
    timeoutMs: 40_000,
  });
  await administer(postgres, async (admin) => {
    const { rows } = await admin.query<{ ssl: boolean; count: number }>(
      'SELECT ssl, count(*)::int AS count FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) ' +
        `WHERE datname = '${NAME}' GROUP BY ssl`,
    );
    expect(rows.map(({ ssl }) => ssl)).toEqual([true]);
  });
}, 120_000);

test('a Postgres that is another, or is called otherwise, is not migrated and not asked', async (context) => {
  needsOpenssl(context);
  const another = urlWith(path.join(dir, 'other.crt'));
  const otherwise = new URL(urlWith(path.join(dir, 'server.crt')));
  otherwise.hostname = 'localhost';
  for (const [url, why] of [
    [another, /self-signed certificate|unable to verify/],
    [otherwise.href, /does not match certificate|altnames/],
  ] as const) {
    await expect(migrate(url)).rejects.toThrow(why);
    const database = new Database(url);
    await expect(database.prisma.run.count().finally(() => database.close())).rejects.toThrow(why);
  }
});
