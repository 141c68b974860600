import 'reflect-metadata';
import { loadEnvOrExit, type Logger } from '#libs/platform';
import { LOGGER } from './app.module.js';
import { createApplication } from './application.js';

const env = loadEnvOrExit();
const app = await createApplication(env);
app.enableShutdownHooks();
await app.listen(env.port, env.host);
app.get<Logger>(LOGGER).info({ url: await app.getUrl() }, 'listening');
