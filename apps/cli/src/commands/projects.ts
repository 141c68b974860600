/** Who shares the workers. */
import { InvalidArgumentError, type Command } from 'commander';
import { positive } from '../options.js';
import { client, out, show } from '../program.js';
import { table } from '../render.js';

/** A bound, or that there is none: commander takes null for no value at all. */
type Quota = number | 'none';
const quota = (text: string): Quota => (text === 'none' ? text : positive(text));
const bound = (given: Quota): number | null => (given === 'none' ? null : given);

const share = (text: string): number => {
  if (!(Number(text) > 0)) throw new InvalidArgumentError('expected a number above 0');
  return Number(text);
};

interface ProjectOptions {
  weight?: number;
  maxRunning?: Quota;
  gpuSeconds?: Quota;
  maxSeconds?: Quota;
}

export function addProjects(program: Command): void {
  const projects = program
    .command('projects')
    .description('who shares the workers: weights, quotas, and what they use')
    .action(async () => {
      const list = await (await client()).projects();
      show(list, () =>
        table(
          ['name', 'weight', 'running', 'of at most', 'waiting', 'GPU-seconds', 'of at most', 'seconds a run'],
          list.map((project) => [
            project.name,
            String(project.weight),
            String(project.running),
            project.maxRunning === null ? '–' : String(project.maxRunning),
            String(project.waiting),
            project.gpuSecondsUsed.toFixed(0),
            project.gpuSeconds === null ? '–' : String(project.gpuSeconds),
            project.maxSeconds === null ? '–' : String(project.maxSeconds),
          ]),
          out,
        ),
      );
    });
  projects
    .command('set <name>')
    .description('make a project, or change its weight and quotas')
    .option('--weight <n>', 'its share of starts and slots, beside that of others', share)
    .option('--max-running <n>', 'how many of its runs may be under way (none: any number)', quota)
    .option('--gpu-seconds <n>', 'what its runs may use altogether (none: any amount)', quota)
    .option('--max-seconds <n>', 'time limit of its runs that are submitted without one (none: any time)', quota)
    .action(async (name: string, { weight, maxRunning, gpuSeconds, maxSeconds }: ProjectOptions) => {
      const project = await (
        await client()
      ).putProject(name, {
        ...(weight !== undefined && { weight }),
        ...(maxRunning !== undefined && { maxRunning: bound(maxRunning) }),
        ...(gpuSeconds !== undefined && { gpuSeconds: bound(gpuSeconds) }),
        ...(maxSeconds !== undefined && { maxSeconds: bound(maxSeconds) }),
      });
      show(
        project,
        () =>
          `project ${project.name}: weight ${project.weight}, ` +
          `at most ${project.maxRunning ?? 'any number of'} runs ` +
          `and ${project.gpuSeconds ?? 'any amount of'} GPU-seconds` +
          `${project.maxSeconds === null ? '' : `, each run at most ${project.maxSeconds} s`}\n`,
      );
    });
}
