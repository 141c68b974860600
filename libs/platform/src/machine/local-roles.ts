/**
 * Who logs in to the Postgres of a stack: a superuser, which only its start is, and the role that the product runs as.
 * That one owns the database and no more: whoever finds a way to send it SQL can't run programs or read files.
 */
import pg from 'pg';
import { LocalServiceError, PROBE_TIMEOUT_MS } from './local-server.js';

/** initdb's user, by the name that it has had since the first version. */
export const SUPERUSER = 'loom';
const ROLE = 'latent_loom';
const DATABASE = 'loom';
/** Of clusters that the first versions made. */
const FORMER_PASSWORD = 'loom';
const INVALID_PASSWORD = '28P01';

export interface PostgresPasswords {
  superuser: string;
  role: string;
}

export const databaseUrl = (port: number, { role }: PostgresPasswords): string =>
  `postgresql://${ROLE}:${role}@127.0.0.1:${port}/${DATABASE}`;

async function asSuperuser<T>(
  port: number,
  password: string,
  database: string,
  work: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const client = new pg.Client({
    host: '127.0.0.1',
    port,
    user: SUPERUSER,
    password,
    database,
    connectionTimeoutMillis: PROBE_TIMEOUT_MS,
  });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** Resolves where the server takes connections, whoever may log in. @throws what the connection failed with */
export async function answers(port: number): Promise<void> {
  await asSuperuser(port, FORMER_PASSWORD, 'postgres', async () => undefined).catch((error: unknown) => {
    if ((error as { code?: string }).code !== INVALID_PASSWORD) throw error;
  });
}

/**
 * Makes the role and its database where there are none, and gives what an earlier version's superuser made to the role.
 * @throws LocalServiceError where the superuser has another password than the one that is kept
 */
export async function setUpRoles(port: number, { superuser, role }: PostgresPasswords): Promise<void> {
  await replaceFormerPassword(port, superuser);
  await asSuperuser(port, superuser, 'postgres', async (client) => {
    const { rowCount: roles } = await client.query('SELECT FROM pg_roles WHERE rolname = $1', [ROLE]);
    const login = `LOGIN NOSUPERUSER CREATEDB PASSWORD ${client.escapeLiteral(role)}`;
    await client.query(`${roles ? 'ALTER' : 'CREATE'} ROLE ${ROLE} ${login}`);
    const { rowCount: databases } = await client.query('SELECT FROM pg_database WHERE datname = $1', [DATABASE]);
    await client.query(
      databases ? `ALTER DATABASE ${DATABASE} OWNER TO ${ROLE}` : `CREATE DATABASE ${DATABASE} OWNER ${ROLE}`,
    );
  });
  await asSuperuser(port, superuser, DATABASE, (client) => client.query(GIVE_ALL));
}

async function replaceFormerPassword(port: number, password: string): Promise<void> {
  const change = (client: pg.Client) =>
    client.query(`ALTER ROLE ${SUPERUSER} PASSWORD ${client.escapeLiteral(password)}`);
  const refused = (error: unknown) => {
    if ((error as { code?: string }).code !== INVALID_PASSWORD) throw error;
    return false;
  };
  if (await asSuperuser(port, password, 'postgres', async () => true).catch(refused)) return;
  if (await asSuperuser(port, FORMER_PASSWORD, 'postgres', change).catch(refused)) return;
  throw new LocalServiceError(
    'expected the superuser of Postgres to have the password of passwords.json: put the file back that was there ' +
      'when the database was made',
  );
}

/** Tables, with the sequences of their columns, views, enumerations and functions of the schema `public`. */
const GIVE_ALL = `
  DO $$
  DECLARE
    statement text;
  BEGIN
    FOR statement IN
      SELECT format('ALTER TABLE %s OWNER TO ${ROLE}', oid::regclass)
      FROM pg_class
      WHERE relnamespace = 'public'::regnamespace
        AND relkind IN ('r', 'p', 'v')
        AND relowner <> '${ROLE}'::regrole
      UNION ALL
      SELECT format('ALTER TYPE %s OWNER TO ${ROLE}', oid::regtype)
      FROM pg_type
      WHERE typnamespace = 'public'::regnamespace
        AND typtype = 'e'
        AND typowner <> '${ROLE}'::regrole
      UNION ALL
      SELECT format('ALTER ROUTINE %s OWNER TO ${ROLE}', oid::regprocedure)
      FROM pg_proc
      WHERE pronamespace = 'public'::regnamespace
        AND proowner <> '${ROLE}'::regrole
    LOOP
      EXECUTE statement;
    END LOOP;
  END
  $$`;
