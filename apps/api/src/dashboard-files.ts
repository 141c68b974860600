/** The dashboard's files: compressed when they were built, and kept by browsers for as long as their name is theirs. */
import fastifyStatic from '@fastify/static';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import path from 'node:path';

/** Below it a name has the hash of what the file holds. */
const HASHED = 'assets';
const FOR_EVER = 'public, max-age=31536000, immutable';
/** A browser asks whether it is still so, by ETag. */
const ASK_AGAIN = 'no-cache';

export async function serveDashboard(app: Pick<NestFastifyApplication, 'register'>, folder: string): Promise<void> {
  await app.register(fastifyStatic, {
    root: folder,
    wildcard: false,
    decorateReply: false,
    preCompressed: true,
    cacheControl: false,
    setHeaders: (response, file) => {
      const named = path.relative(folder, file).split(path.sep)[0] === HASHED;
      void response.header('cache-control', named ? FOR_EVER : ASK_AGAIN);
    },
  });
}
