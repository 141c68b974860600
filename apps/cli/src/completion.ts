/** Scripts with which shells complete commands, options and their values: made from the commands themselves. */
import type { Argument, Command, Option } from 'commander';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

interface Flag {
  names: string[];
  description: string;
  takesValue: boolean;
  choices: readonly string[];
  takesFile: boolean;
}
/** A command by the words that lead to it, `/datasets/add`; the program itself is ``. */
interface Place {
  path: string;
  words: { name: string; description: string }[];
  flags: Flag[];
  choices: readonly string[];
  takesFile: boolean;
}

const names = (what: Option | Argument): string => ('flags' in what ? what.flags : what.name()).toLowerCase();
const takesFile = (what: Option | Argument): boolean =>
  /<(file|folder|dir|path|config)>|^(file|folder|dir|path)$/.test(names(what));

const flagOf = (option: Option): Flag => ({
  names: [option.long, option.short].filter((name) => name !== undefined && name !== null),
  description: option.description,
  takesValue: option.required || option.optional,
  choices: option.argChoices ?? [],
  takesFile: takesFile(option),
});

/** Every command below this one, and itself. */
function placesOf(command: Command, path = ''): Place[] {
  const visible = command.createHelp().visibleCommands(command);
  const own = visible.filter((inner) => inner.name() !== 'help');
  const options = command.options.filter(({ hidden }) => !hidden).map(flagOf);
  return [
    {
      path,
      words: visible.map((inner) => ({ name: inner.name(), description: inner.description() })),
      flags: [
        ...options,
        {
          names: ['--help', '-h'],
          description: 'show how it is used',
          takesValue: false,
          choices: [],
          takesFile: false,
        },
      ],
      choices: command.registeredArguments.flatMap(({ argChoices }) => argChoices ?? []),
      takesFile: command.registeredArguments.some(takesFile),
    },
    ...own.flatMap((inner) => placesOf(inner, `${path}/${inner.name()}`)),
  ];
}

/**
 * A script to be sourced: `eval "$(loom completion bash)"`. Options of the program are completed after every command,
 * values that are known (such as statuses) after their option and after each comma.
 */
export function completionScript(program: Command, shell: Shell): string {
  const places = placesOf(program);
  const name = program.name();
  return shell === 'fish' ? fish(name, places) : shell === 'zsh' ? zsh(name, places) : bash(name, places);
}

const unique = (words: readonly string[]): string[] => [...new Set(words)];
const valueFlags = (places: readonly Place[]): string =>
  unique(
    places.flatMap(({ flags }) => flags.filter(({ takesValue }) => takesValue).flatMap((flag) => flag.names)),
  ).join('|');
const pathsBelow = (places: readonly Place[]): string =>
  places
    .slice(1)
    .map(({ path }) => path)
    .join('|');
/** `place:option` as a pattern; options of the program stand after every command. */
const patterns = (path: string, flag: Flag): string =>
  flag.names.map((each) => (path === '' ? `*:${each}` : `${path}:${each}`)).join('|');

/** Which command the cursor is in, as both shells find it out. */
const walk = (places: readonly Place[], first: number, list: string, end: string): string => `\
  local place='' word skip='' i
  for ((i = ${first}; i < ${end}; i++)); do
    word="\${${list}[i]}"
    if [[ -n $skip ]]; then skip=''; continue; fi
    case "$word" in
      ${valueFlags(places)}) skip=1 ;;
      -*) ;;
      *) case "$place/$word" in ${pathsBelow(places)}) place="$place/$word" ;; esac ;;
    esac
  done
`;

function bash(name: string, places: readonly Place[]): string {
  const values = places.flatMap(({ path, flags }) =>
    flags
      .filter(({ takesValue }) => takesValue)
      .map(
        (flag) =>
          `    ${patterns(path, flag)}) ` +
          `${flag.choices.length ? `_${name}_words '${flag.choices.join(' ')}'` : flag.takesFile ? 'COMPREPLY=($(compgen -f -- "$cur"))' : ':'}; ` +
          'return ;;',
      ),
  );
  const global = places[0]!.flags.flatMap((flag) => flag.names.slice(0, 1));
  const words = places.map(
    ({ path, words: inner, flags, choices, takesFile: file }) =>
      `    '${path}') ` +
      `flags='${unique([...flags.flatMap((flag) => flag.names.slice(0, 1)), ...global]).join(' ')}'; ` +
      `words='${[...inner.map((each) => each.name), ...choices].join(' ')}'; files=${file ? '1' : "''"} ;;`,
  );
  return `\
# Completion of ${name} for bash: eval "$(${name} completion bash)"
_${name}_words() {
  # After a comma the next of a list.
  local head=''
  if [[ $cur == *,* ]]; then head="\${cur%,*},"; fi
  COMPREPLY=($(compgen -P "$head" -W "$1" -- "\${cur##*,}"))
}
_${name}() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" prev="\${COMP_WORDS[COMP_CWORD-1]}" flags words files
  COMPREPLY=()
  # --status=x comes in three words.
  if [[ $cur == '=' ]]; then cur=''; elif [[ $prev == '=' ]]; then prev="\${COMP_WORDS[COMP_CWORD-2]}"; fi
${walk(places, 1, 'COMP_WORDS', 'COMP_CWORD')}\
  case "$place:$prev" in
${values.join('\n')}
  esac
  case "$place" in
${words.join('\n')}
  esac
  if [[ $cur == -* ]]; then COMPREPLY=($(compgen -W "$flags" -- "$cur"))
  else
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
    if [[ -n $files ]]; then COMPREPLY+=($(compgen -f -- "$cur")); fi
  fi
}
complete -o filenames -o nosort -F _${name} ${name} 2>/dev/null || complete -o filenames -F _${name} ${name}
`;
}

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
/** What zsh calls a description: the word, a colon, the text. */
const described = (word: string, description: string): string =>
  quoted(`${word.replaceAll(':', '\\:')}:${description.split('\n')[0]}`);

function zsh(name: string, places: readonly Place[]): string {
  const values = places.flatMap(({ path, flags }) =>
    flags
      .filter(({ takesValue }) => takesValue)
      .map(
        (flag) =>
          `    ${patterns(path, flag)}) ` +
          `${flag.choices.length ? `_values -s , value ${flag.choices.map(quoted).join(' ')}` : flag.takesFile ? '_files' : '_message value'}; ` +
          'return ;;',
      ),
  );
  const global = places[0]!.flags;
  const words = places.map(({ path, words: inner, flags, choices, takesFile: file }) => {
    const all = [...new Map([...flags, ...global].map((flag) => [flag.names[0]!, flag])).values()];
    return `    '${path}')
      flags=(${all.map((flag) => described(flag.names[0]!, flag.description)).join(' ')})
      found=(${[...inner.map((each) => described(each.name, each.description)), ...choices.map(quoted)].join(' ')})
      files=${file ? '1' : "''"} ;;`;
  });
  return `\
#compdef ${name}
# Completion of ${name} for zsh: eval "$(${name} completion zsh)", after compinit; or a file _${name} in a folder of fpath.
_${name}() {
  local -a flags found
  local files=''
${walk(places, 2, 'words', 'CURRENT')}\
  case "$place:\${words[CURRENT-1]}" in
${values.join('\n')}
  esac
  case "$place" in
${words.join('\n')}
  esac
  if [[ $PREFIX == -* ]]; then _describe -o option flags
  else
    (( $#found )) && _describe command found
    [[ -n $files ]] && _files
  fi
}
if [[ "\${funcstack[1]}" == _${name} ]]; then _${name} "$@"; else compdef _${name} ${name}; fi
`;
}

function fish(name: string, places: readonly Place[]): string {
  const lines = places.flatMap(({ path, words, flags, choices, takesFile: file }) => {
    const way = path.split('/').slice(1);
    const seen = way.map((word) => `__fish_seen_subcommand_from ${word}`);
    const inside = words.length
      ? [
          ...seen,
          ...(way.length ? [`not __fish_seen_subcommand_from ${words.map((each) => each.name).join(' ')}`] : []),
        ]
      : seen;
    const when = (conditions: readonly string[]) =>
      conditions.length ? ` -n ${quoted(conditions.join('; and '))}` : '';
    return [
      ...words.map(
        (each) =>
          `complete -c ${name}${way.length ? when(inside) : ' -n __fish_use_subcommand'} -a ${each.name} -d ` +
          `${quoted(each.description.split('\n')[0]!)}`,
      ),
      ...(choices.length ? [`complete -c ${name}${when(seen)} -a ${quoted(choices.join(' '))}`] : []),
      ...(file ? [`complete -c ${name}${when(seen)} -F`] : []),
      ...flags.map(
        (flag) =>
          `complete -c ${name}${when(seen)} ${flag.names.map((each) => (each.startsWith('--') ? `-l ${each.slice(2)}` : `-s ${each.slice(1)}`)).join(' ')}${
            flag.choices.length
              ? ` -x -a ${quoted(flag.choices.join(' '))}`
              : flag.takesFile
                ? ' -r -F'
                : flag.takesValue
                  ? ' -x'
                  : ''
          } -d ${quoted(flag.description.split('\n')[0]!)}`,
      ),
    ];
  });
  return (
    `# Completion of ${name} for fish: ${name} completion fish > ~/.config/fish/completions/${name}.fish\ncomplete ` +
    `-c ${name} -f\n${lines.join('\n')}\n`
  );
}
