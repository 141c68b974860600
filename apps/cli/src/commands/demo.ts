/** The main job on real images. */
import type { Command } from 'commander';
import { EXIT } from '../exit-codes.js';
import { interrupted } from '../interrupt.js';
import { out, settings } from '../program.js';

export function addDemo(program: Command): void {
  program
    .command('demo')
    .description('the main job on real images, from an empty machine to a result table')
    .option('--dataset <path>', 'a folder of class folders, or a tar or tar.gz of one (default: MNIST digits)')
    .option('--quick', 'a smaller one, in under 90 seconds')
    .option('--out <file>', 'write the results as JSON')
    .option('--stay', 'keep everything up afterwards')
    .option('--sweep', 'six augmentations in all pairs: the composition matrix as a heat map')
    .action(
      async ({
        dataset,
        quick = false,
        out: file,
        stay = false,
        sweep: pairs = false,
      }: {
        dataset?: string;
        quick?: boolean;
        out?: string;
        stay?: boolean;
        sweep?: boolean;
      }) => {
        const { demo } = await import('../demo.js');
        const succeeded = await demo({
          dataset,
          quick,
          pairs,
          stay,
          out: file,
          dir: settings().dir,
          environment: process.env,
          output: out,
          signal: interrupted.signal,
        });
        process.exitCode = succeeded ? EXIT.ok : EXIT.failed;
      },
    );
}
