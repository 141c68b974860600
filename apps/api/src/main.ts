import 'reflect-metadata';
import { isUnavailable, loadEnvOrExit, Workers, type Logger } from '#libs/platform';
import { setTimeout as delay } from 'node:timers/promises';
import { LOGGER } from './app.module.js';
import { createApplication } from './application.js';

const env = loadEnvOrExit();
const app = await createApplication(env);
const log = app.get<Logger>(LOGGER);

/** Whether Postgres has said that its schema is ours. Ends the process where it is another's. */
async function isOurs(): Promise<boolean> {
  try {
    await app.get(Workers).checkSchema('API');
    return true;
  } catch (error) {
    if (isUnavailable(error)) return false;
    log.fatal({ err: error }, 'not started: the database is of another version');
    process.exit(1);
  }
}

/** A Postgres that is away when the API starts is asked when it comes. */
async function askUntilTold(): Promise<void> {
  while (!(await isOurs())) await delay(1000, undefined, { ref: false });
}

app.enableShutdownHooks();
if (!(await isOurs())) void askUntilTold();
await app.listen(env.port, env.host);
log.info({ url: await app.getUrl() }, 'listening');
