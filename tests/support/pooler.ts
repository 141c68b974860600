/** A PgBouncer of a test's own, in the mode in which teams run it: it pools by transaction. */
import { spawn } from 'node:child_process';
import { chown, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { eventually } from './eventually.js';
import { freePort } from './processes.js';

export interface Pooler {
  url: string;
  close(): Promise<void>;
}

/** PgBouncer refuses to be root: of nobody it needs the number, to write where it is. */
const NOBODY = 65_534;

/**
 * Resolves when it lets clients in, on a port of 127.0.0.1, to so many sessions of a Postgres. It lends the one that
 * was given back last, or, `inTurn`, the one that has waited longest.
 */
export async function startPooler(databaseUrl: string, { servers = 4, inTurn = false } = {}): Promise<Pooler> {
  const dir = await mkdtemp(path.join(tmpdir(), 'loom-pooler-'));
  const [server, port] = [new URL(databaseUrl), await freePort()];
  const settings = path.join(dir, 'pgbouncer.ini');
  const quoted = (text: string) => `'${decodeURIComponent(text).replaceAll("'", "''")}'`;
  await writeFile(
    settings,
    `[databases]
${server.pathname.slice(1)} = host=${server.hostname} port=${server.port} \
user=${quoted(server.username)} password=${quoted(server.password)}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = ${servers}
min_pool_size = ${servers}
server_round_robin = ${inTurn ? 1 : 0}
`,
  );
  const asRoot = process.getuid?.() === 0;
  if (asRoot) await Promise.all([dir, settings].map((each) => chown(each, NOBODY, NOBODY)));
  const child = spawn('pgbouncer', [...(asRoot ? ['--user', 'nobody'] : []), settings], {
    stdio: ['ignore', 'pipe', 'pipe'],
    // Debian has it where only root's PATH leads.
    env: { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin` },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-5000);
    });
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()).once('error', () => resolve()));
  const close = async () => {
    child.kill('SIGKILL');
    await gone;
    await rm(dir, { recursive: true, force: true });
  };
  const url = new URL(databaseUrl);
  url.hostname = '127.0.0.1';
  url.port = String(port);
  try {
    await eventually(async () => {
      const client = new pg.Client({ connectionString: url.href });
      await client.connect().catch((error: Error) => {
        throw new Error(`expected PgBouncer to let a client in: ${error.message}\n${output}`);
      });
      await client.end();
    });
  } catch (error) {
    await close();
    throw error;
  }
  return { url: url.href, close };
}
