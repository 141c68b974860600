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
    ...own.flatMap((inner) => [inner.name(), ...inner.aliases()].flatMap((name) => placesOf(inner, `${path}/${name}`))),
  ];
}

/**
 * A script to be sourced: `eval "$(loom completion bash)"`. Options of the program are completed after every command,
 * values that are known (such as statuses) after their option and after each comma.
 */
export function completionScript(program: Command, shell: Shell): string {
  const places = placesOf(program);
  const name = program.name();
  return { bash, zsh, fish }[shell](name, places);
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

/** Lines of bash and zsh that set `place` to the command that the cursor is in. */
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

/** Options with a value, each as a case of the shell that completes the value behind it. */
const valueCases = (places: readonly Place[], complete: (flag: Flag) => string): string =>
  places
    .flatMap(({ path, flags }) =>
      flags
        .filter(({ takesValue }) => takesValue)
        .map((flag) => `    ${patterns(path, flag)}) ${complete(flag)}; return ;;`),
    )
    .join('\n');

function bash(name: string, places: readonly Place[]): string {
  const values = valueCases(places, ({ choices, takesFile: file }) => {
    if (choices.length) return `_${name}_words '${choices.join(' ')}'`;
    return file ? 'COMPREPLY=($(compgen -f -- "$cur"))' : ':';
  });
  const global = places[0]!.flags.flatMap((flag) => flag.names.slice(0, 1));
  const cases = places.map(({ path, words, flags, choices, takesFile: file }) => {
    const all = unique([...flags.flatMap((flag) => flag.names.slice(0, 1)), ...global]).join(' ');
    const known = [...words.map((each) => each.name), ...choices].join(' ');
    return `    '${path}') flags='${all}'; words='${known}'; files=${file ? '1' : "''"} ;;`;
  });
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
${values}
  esac
  case "$place" in
${cases.join('\n')}
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

const firstLine = (text: string): string => text.split('\n')[0]!;
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
/** What zsh calls a description: the word, a colon, the text. */
const described = (word: string, description: string): string =>
  quoted(`${word.replaceAll(':', '\\:')}:${firstLine(description)}`);

function zsh(name: string, places: readonly Place[]): string {
  const values = valueCases(places, ({ choices, takesFile: file }) => {
    if (choices.length) return `_values -s , value ${choices.map(quoted).join(' ')}`;
    return file ? '_files' : '_message value';
  });
  const global = places[0]!.flags;
  const cases = places.map(({ path, words, flags, choices, takesFile: file }) => {
    const all = [...new Map([...flags, ...global].map((flag) => [flag.names[0]!, flag])).values()];
    const found = [...words.map((each) => described(each.name, each.description)), ...choices.map(quoted)];
    return `    '${path}')
      flags=(${all.map((flag) => described(flag.names[0]!, flag.description)).join(' ')})
      found=(${found.join(' ')})
      files=${file ? '1' : "''"} ;;`;
  });
  return `\
#compdef ${name}
# Completion of ${name} for zsh: eval "$(${name} completion zsh)", after compinit; \
or a file _${name} in a folder of fpath.
_${name}() {
  local -a flags found
  local files=''
${walk(places, 2, 'words', 'CURRENT')}\
  case "$place:\${words[CURRENT-1]}" in
${values}
  esac
  case "$place" in
${cases.join('\n')}
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

/** How fish is told of an option, and of its value where it has one. */
function fishFlag({ names: all, choices, takesFile: file, takesValue, description }: Flag): string {
  const options = all.map((each) => (each.startsWith('--') ? `-l ${each.slice(2)}` : `-s ${each.slice(1)}`));
  let value = takesValue ? ' -x' : '';
  if (choices.length) value = ` -x -a ${quoted(choices.join(' '))}`;
  else if (file) value = ' -r -F';
  return `${options.join(' ')}${value} -d ${quoted(firstLine(description))}`;
}

function fish(name: string, places: readonly Place[]): string {
  const complete = (conditions: readonly string[], what: string) => {
    const when = conditions.length ? ` -n ${quoted(conditions.join('; and '))}` : '';
    return `complete -c ${name}${when} ${what}`;
  };
  const lines = places.flatMap(({ path, words, flags, choices, takesFile: file }) => {
    const seen = path
      .split('/')
      .slice(1)
      .map((word) => `__fish_seen_subcommand_from ${word}`);
    const none = `not __fish_seen_subcommand_from ${words.map((each) => each.name).join(' ')}`;
    const word = (what: string) =>
      seen.length ? complete([...seen, none], what) : `complete -c ${name} -n __fish_use_subcommand ${what}`;
    return [
      ...words.map((each) => word(`-a ${each.name} -d ${quoted(firstLine(each.description))}`)),
      ...(choices.length ? [complete(seen, `-a ${quoted(choices.join(' '))}`)] : []),
      ...(file ? [complete(seen, '-F')] : []),
      ...flags.map((flag) => complete(seen, fishFlag(flag))),
    ];
  });
  return `\
# Completion of ${name} for fish: ${name} completion fish > ~/.config/fish/completions/${name}.fish
complete -c ${name} -f
${lines.join('\n')}
`;
}
