/** What runs, waits and works. */
import type { Command } from 'commander';
import { client, out, settings, show } from '../program.js';
import { runsText } from '../run-tables.js';
import { runningPid } from '../stack-lock.js';
import { readState } from '../stack-state.js';

export function addStatus(program: Command): void {
  program
    .command('status')
    .description('what runs, waits and works')
    .action(async () => {
      const { dir } = settings();
      const state = await readState(dir);
      const api = await client();
      const [workers, counts, recent] = [await api.workers(), await api.runCounts(), await api.runs({ limit: 10 })];
      const ready = await api.ready();
      const counted = Object.entries(counts)
        .map(([status, count]) => `${count} ${status}`)
        .join(', ');
      show(
        {
          url: api.url,
          pid: runningPid(dir) ?? null,
          ready,
          workers,
          counts,
          runs: recent.items,
          startedAt: state?.startedAt,
        },
        () =>
          `${api.url} ${ready ? 'is ready' : 'is not ready'}; ` +
          `workers: ${workers.filter(({ alive }) => alive).length}; runs: ${counted || 'none'}\n` +
          runsText(recent.items, out),
      );
    });
}
