/** Completion scripts for shells. */
import { Argument, type Command } from 'commander';
import { completionScript, SHELLS, type Shell } from '../completion.js';
import { out } from '../program.js';

export function addCompletion(program: Command): void {
  program
    .command('completion')
    .addArgument(new Argument('<shell>', 'which shell').choices(SHELLS))
    .description('print a script with which a shell completes commands, options and their values')
    .action((shell: Shell) => {
      out.write(completionScript(program, shell));
    });
}
