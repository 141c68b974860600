/** A stack on this machine: brought up, and ended. */
import type { Command } from 'commander';
import { stat } from 'node:fs/promises';
import { UsageError } from '../usage-error.js';
import { interrupted } from '../interrupt.js';
import { portNumber, positive } from '../options.js';
import { say, settings, show } from '../program.js';
import { stopStack } from '../stack-lock.js';
import { Stack } from '../stack.js';

export function addUp(program: Command): void {
  program
    .command('up')
    .description('bring up Postgres, Redis, the API and workers on this machine, and keep them until Ctrl-C')
    .option('--port <port>', 'port of the API (default: the one of last time, 3000 or a free one)', portNumber)
    .option('--host <host>', 'address to listen on', '127.0.0.1')
    .option('--workers <n>', 'worker processes', positive, 1)
    .option('--data-root <folder>', 'the only folder that datasets are prepared from')
    .action(
      async ({
        port,
        host,
        workers,
        dataRoot,
      }: {
        port?: number;
        host: string;
        workers: number;
        dataRoot?: string;
      }) => {
        if (dataRoot !== undefined) await checkFolder(dataRoot);
        const stack = await Stack.start({
          dir: settings().dir,
          port,
          host,
          workers,
          dataRoot,
          environment: process.env,
          signal: interrupted.signal,
          log: say,
          databaseUrl: process.env['DATABASE_URL'],
          databaseDirectUrl: process.env['DATABASE_DIRECT_URL'],
          redisUrl: process.env['REDIS_URL'],
        });
        try {
          say(`Latent Loom is up at ${stack.url} (data root ${stack.state.dataRoot}); Ctrl-C ends it`);
          await Promise.race([
            stack.failure,
            new Promise<void>((resolve) =>
              interrupted.signal.addEventListener('abort', () => resolve(), { once: true }),
            ),
          ]);
          say('stopping');
        } finally {
          await stack.stop();
        }
      },
    );
}

/** Refuses a data root that is not there: making it would hide a mistyped path. @throws UsageError */
async function checkFolder(dir: string): Promise<void> {
  const found = await stat(dir).catch(() => undefined);
  if (!found?.isDirectory())
    throw new UsageError(
      `expected --data-root to be a folder that is there, got ${dir}: ${found ? 'it is none' : 'it does not exist'}`,
    );
}

export function addDown(program: Command): void {
  program
    .command('down')
    .description('end the stack of this folder')
    .action(async () => {
      const stopped = await stopStack(settings().dir);
      show({ stopped }, () => (stopped ? 'stopped\n' : 'nothing was running\n'));
    });
}
