/** A run and all that it was made from, trained once more. */
import type { Run } from '#libs/contracts';
import { InvalidArgumentError, type Command } from 'commander';
import { EXIT } from '../exit-codes.js';
import { following } from '../follow.js';
import { FOLLOWING } from '../options.js';
import { followOptions } from '../outcome.js';
import { client, out, show } from '../program.js';
import { runId } from '../references.js';
import { reproductionText } from '../render.js';
import { judge, lineage, resubmit, shellScript } from '../reproduce.js';

export function addReproduce(program: Command): void {
  program
    .command('reproduce <run>')
    .description('train a run and all that it was made from once more, as they were, and compare every last metric')
    .option(
      '--tolerance <number>',
      'how far a metric may be off: that much, or that part of a value beyond ±1',
      (text) => {
        if (!(Number(text) >= 0)) throw new InvalidArgumentError('expected a number from 0');
        return Number(text);
      },
      0.02,
    )
    .option('--print', 'print the commands that would do it, and do nothing')
    .option('--cancel-on-interrupt', FOLLOWING)
    .action(
      async (
        id: string,
        { tolerance, print, cancelOnInterrupt }: { tolerance: number; print?: boolean; cancelOnInterrupt?: boolean },
      ) => {
        const api = await client();
        const runs = await lineage(api, await runId(api, id));
        if (print)
          return show(
            runs.map(({ id: original, kind, digest, spec }) => ({ original, kind, digest, spec })),
            () => shellScript(runs),
          );
        const ended = await following(api, [], followOptions({ cancelOnInterrupt }), async (add) => {
          const ends = new Map<string, Promise<Run>>();
          await resubmit(
            api,
            runs,
            (run) => {
              ends.set(run.id, add(run));
            },
            (each) => ends.get(each)!,
          );
          return Promise.all(ends.values());
        });
        const verdicts = runs.map((run, i) => judge(run, ended[i]!, tolerance));
        const reproduced = verdicts.every(({ within }) => within);
        process.exitCode = reproduced ? EXIT.ok : EXIT.failed;
        show({ reproduced, tolerance, runs: verdicts }, () => reproductionText(verdicts, tolerance, out));
      },
    );
}
