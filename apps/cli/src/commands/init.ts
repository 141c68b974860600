/** A sweep to start from. */
import { Name } from '#libs/contracts';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { writeFile } from 'node:fs/promises';
import { UsageError } from '../usage-error.js';
import { out, show } from '../program.js';
import { starterSweep } from '../starter.js';

export function addInit(program: Command): void {
  program
    .command('init [file]')
    .description('write a commented sweep to start from')
    .addOption(
      new Option('--dataset <name>', 'what it trains on').default('cifar10').argParser((text) => {
        if (!Name.safeParse(text.split('@')[0]).success)
          throw new InvalidArgumentError('expected the name of a dataset, such as cifar10');
        return text;
      }),
    )
    .option('--force', 'also over a file that is there')
    .action(async (file: string = 'sweep.yaml', { dataset, force }: { dataset: string; force?: boolean }) => {
      if (file === '-') return void out.write(starterSweep(dataset));
      await writeFile(file, starterSweep(dataset), { flag: force ? 'w' : 'wx' }).catch(
        (error: NodeJS.ErrnoException) => {
          throw new UsageError(
            error.code === 'EEXIST'
              ? `expected no file at ${file}, there is one: choose another name, or --force`
              : `expected to be able to write ${file}: ${error.message}`,
          );
        },
      );
      show({ file, dataset }, () => `wrote ${file}, a sweep of ${dataset}: read it, then \`loom plan ${file}\`\n`);
    });
}
