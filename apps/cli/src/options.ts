/** Options that several commands take. */
import { RUN_KINDS, RunStatus, type RunFilter } from '#libs/contracts';
import { InvalidArgumentError, Option, type Command } from 'commander';
import type { z } from 'zod';
import { didYouMean } from '#libs/contracts';

export const positive = (text: string): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError('expected a whole number');
  return value;
};

/** A port to listen on; 0 takes any. */
export const portNumber = (text: string): number => {
  const value = positive(text);
  if (value > 65_535) throw new InvalidArgumentError('expected a port, at most 65535');
  return value;
};

/** An option that takes some of these words, separated by commas. */
export function words(flags: string, description: string, known: readonly string[]): Option {
  const option = new Option(flags, `${description}, separated by commas`).argParser((text) => {
    for (const word of text.split(','))
      if (!known.includes(word))
        throw new InvalidArgumentError(`${word || 'nothing'} is none of them${didYouMean(word, known)}`);
    return text;
  });
  option.argChoices = [...known];
  return option;
}

export const FOLLOWING = 'cancel what is followed on Ctrl-C, which otherwise goes on';

/** Takes what was archived in, or nothing else. */
export const archivedOption = (): Option =>
  new Option('--archived <which>', 'what was archived: no (left out), yes (only that), all').choices([
    'no',
    'yes',
    'all',
  ]);

export interface Filter {
  status?: string;
  kind?: string;
  tag?: string;
  sweep?: string;
  name?: string;
  search?: string;
  project?: string;
  where?: string;
  archived?: string;
}
/** Takes the options that choose runs. */
export const filtered = (command: Command): Command =>
  command
    .addOption(words('--status <status>', 'only these', RunStatus.options))
    .addOption(words('--kind <kind>', 'only these', RUN_KINDS))
    .option('--tag <tag>', 'only runs with this tag')
    .option('--sweep <id>', 'only runs of this sweep')
    .option('--name <text>', 'only runs whose name holds it')
    .option('--search <text>', 'only runs whose name or id holds it')
    .option('--project <name>', 'only runs of this project')
    .addOption(archivedOption())
    .option(
      '--where <conditions>',
      'by last values of metrics and fields of the spec, such as eval/knn>0.5,spec:method=simclr',
    );
export const filterOf = ({
  status,
  kind,
  tag,
  sweep,
  name,
  search,
  project,
  where,
  archived,
}: Filter): z.input<typeof RunFilter> => ({
  ...(status && { status }),
  ...(kind && { kind }),
  ...(tag && { tag }),
  ...(sweep && { sweep }),
  ...(name && { name }),
  ...(search && { search }),
  ...(project && { project }),
  ...(where && { where }),
  ...(archived && { archived: archived as NonNullable<RunFilter['archived']> }),
});
