/** Runs, or a sweep, followed to their end. */
import { ApiError, type Run } from '#libs/contracts';
import type { Command } from 'commander';
import { FOLLOWING } from '../options.js';
import { follow, followSweep } from '../outcome.js';
import { client } from '../program.js';
import { runOrSweep } from '../references.js';

const isMissing = (error: unknown): error is ApiError => error instanceof ApiError && error.status === 404;

export function addWatch(program: Command): void {
  program
    .command('watch <id...>')
    .description('follow runs, or a sweep, to their end')
    .option('--cancel-on-interrupt', FOLLOWING)
    .action(async (ids: string[], { cancelOnInterrupt }: { cancelOnInterrupt?: boolean }) => {
      const api = await client();
      const runs: Run[] = [];
      for (const given of ids) {
        const { id, type } = await runOrSweep(api, given);
        if (type === 'sweep' && ids.length === 1)
          return void (process.exitCode = await followSweep(api, id, { cancelOnInterrupt }));
        const found = await api.run(id).catch((error: unknown) => {
          if (ids.length === 1 && isMissing(error)) return error;
          throw error;
        });
        if (!isMissing(found)) runs.push(found);
        else if (
          await api.sweep(id).then(
            () => true,
            () => false,
          )
        )
          return void (process.exitCode = await followSweep(api, id, { cancelOnInterrupt }));
        else throw found;
      }
      process.exitCode = await follow(api, runs, { cancelOnInterrupt });
    });
}
