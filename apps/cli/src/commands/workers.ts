/** Workers: listed, and told to end. */
import type { Worker } from '#libs/contracts';
import type { Command } from 'commander';
import { client, out, show } from '../program.js';
import { age, table } from '../render.js';

export function addWorkers(program: Command): void {
  program
    .command('workers')
    .description('workers and their heartbeats')
    .action(async () => {
      const workers = await (await client()).workers();
      show(workers, () =>
        table(
          ['id', 'state', 'slots', 'alive', 'heartbeat', 'labels', 'GPUs'],
          workers.map((worker) => [
            worker.id,
            worker.impairment === null ? worker.state : `${worker.state}, takes no runs: ${worker.impairment}`,
            String(worker.slots),
            worker.alive ? 'yes' : 'no',
            age(worker.heartbeatAt),
            Object.entries(worker.labels)
              .map((label) => label.join('='))
              .join(',') || '–',
            worker.gpus.map(({ name }) => name).join(', ') || '–',
          ]),
          out,
        ),
      );
    });
}

export function addDrain(program: Command): void {
  program
    .command('drain <worker...>')
    .description('have workers hand back their runs at a checkpoint, and end')
    .action(async (ids: string[]) => {
      const api = await client();
      const drained: Worker[] = [];
      for (const id of ids) drained.push(await api.drainWorker(id));
      show(drained, () => drained.map(({ id, state }) => `${id} ${state}\n`).join(''));
    });
}
