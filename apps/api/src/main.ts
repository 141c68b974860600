import 'reflect-metadata';
import { Database, isUnavailable, loadEnvOrExit, RunQueue, Workers, type Logger } from '#libs/platform';
import { setTimeout as delay } from 'node:timers/promises';
import { LOGGER } from './app.module.js';
import { createApplication } from './application.js';

const env = loadEnvOrExit();
const app = await createApplication(env);
const log = app.get<Logger>(LOGGER);

function end(error: unknown, why: string): never {
  log.fatal({ err: error }, `not started: ${why}`);
  process.exit(1);
}

/** Whether Postgres has said that its schema is ours, and its sessions are. Ends the process where they are not. */
async function isOurs(): Promise<boolean> {
  let why = 'connections to Postgres have no sessions of their own';
  try {
    await app.get(Database).requireSessions();
    why = 'the database is of another version';
    await app.get(Workers).checkSchema('API');
    return true;
  } catch (error) {
    return isUnavailable(error) ? false : end(error, why);
  }
}

/** A Postgres that is away when the API starts is asked when it comes. */
async function askUntilTold(): Promise<void> {
  while (!(await isOurs())) await delay(1000, undefined, { ref: false });
}

app.enableShutdownHooks();
app
  .get(RunQueue)
  .requireStandalone()
  .catch((error: unknown) => end(error, 'Redis is none that runs can be queued in'));
if (!(await isOurs())) void askUntilTold();
await app.listen(env.port, env.host);
log.info({ url: await app.getUrl() }, 'listening');
