/** Writes the OpenAPI document to the file that is named, without any service: `node openapi.js openapi.json`. */
import 'reflect-metadata';
import { loadEnv } from '#libs/platform';
import { writeFile } from 'node:fs/promises';
import { describeApi } from './api-document.js';
import { createApplication } from './application.js';

const [file = 'openapi.json'] = process.argv.slice(2);
const app = await createApplication(
  loadEnv({ DATABASE_URL: 'postgresql://localhost/none', REDIS_URL: 'redis://localhost:1', LOOM_LOG_LEVEL: 'silent' }),
);
await writeFile(file, `${JSON.stringify(describeApi(app), null, 2)}\n`);
process.exit(0);
