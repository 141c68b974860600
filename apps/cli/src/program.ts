/** The options of every command, and what follows from them: the API to talk to, and how to print. */
import { LoomClient, printable, printableJson, type DamagedRow } from '#libs/contracts';
import { Command, InvalidArgumentError } from 'commander';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { EXIT } from './exit-codes.js';
import { setColour } from './render.js';
import { readSettings } from './settings.js';

const DEFAULT_DIR = '.loom';

if (process.env['NO_COLOR']) setColour(false);
export const out = process.stdout;
// A reader such as `head` that has enough is no error.
out.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(EXIT.ok);
  process.stderr.write(`loom: expected to be able to write what was asked for, got ${error.message}\n`);
  process.exit(EXIT.failed);
});
// A reader that closes stderr is told of errors by the exit code alone.
process.stderr.on('error', () => undefined);
export const say = (text: string): void => {
  // What others named so does not reach a terminal as an order to it: texts are read as `printable`.
  out.write(`${settings().json ? printableJson(text) : text}\n`);
};

/** The version in the nearest package.json above a folder. */
function versionOf(folder: string): string {
  const file = path.join(folder, 'package.json');
  if (!existsSync(file)) return path.dirname(folder) === folder ? 'unknown' : versionOf(path.dirname(folder));
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

export const program = new Command('loom')
  .description(
    'Trains representations: queues contrastive pretraining, label-fraction finetuning and autoencoders, and says ' +
      'which views need the fewest labels.',
  )
  .option(
    '--url <url>',
    'address of the API (default: LOOM_URL, the configuration file, else what `loom up` started here)',
  )
  .option('--key <key>', 'what a proxy in front of the API asks for (default: LOOM_KEY, the configuration file)')
  .option(
    '--timeout <seconds>',
    'how long the API may be silent (default: LOOM_TIMEOUT, the configuration file, 30)',
    (text) => {
      if (!(Number(text) > 0)) throw new InvalidArgumentError('expected seconds, above 0');
      return Number(text);
    },
  )
  .option('--dir <dir>', 'folder of a local stack', DEFAULT_DIR)
  .option('--json', 'print JSON, errors too')
  .version(versionOf(import.meta.dirname), '--version', 'print the version')
  .addHelpText(
    'after',
    '\nA run or a sweep is meant by its id, the beginning or end of it, its name, or as best:SWEEP.',
  )
  .showSuggestionAfterError()
  .exitOverride()
  // What is wrong with the words themselves is told before anything could ask for JSON.
  .configureOutput({
    outputError: (text, write) => {
      write(
        process.argv.includes('--json')
          ? `${JSON.stringify({ error: { exitCode: EXIT.usage, message: text.trim().replace(/^error: /, '') } })}\n`
          : text.replace(/^error: /, 'loom: '),
      );
    },
  });

interface Global {
  url?: string;
  key?: string;
  timeout?: number;
  dir: string;
  json?: boolean;
}
export const settings = (): Global => program.opts<Global>();

/** Resolves when all that was said has left: a pipe takes no more than its reader has room for. */
export async function flushed(): Promise<void> {
  for (const stream of [process.stdout, process.stderr])
    await new Promise<void>((resolve) => stream.write('', () => resolve()));
}

/** What is left out of lists because it is damaged was said, each once: who follows runs asks again and again. */
const saidDamaged = new Set<string>();
function sayDamaged({ resource, id, field, message }: DamagedRow): void {
  const text = `loom: ${resource} ${id} is left out, its row is damaged: ${field}: ${message}\n`;
  if (saidDamaged.has(text)) return;
  saidDamaged.add(text);
  process.stderr.write(text);
}

/** @throws UsageError where nothing says which address */
export async function client(): Promise<LoomClient> {
  const { url, key, timeoutMs } = await readSettings(settings(), process.env);
  return new LoomClient({
    url,
    key,
    timeoutMs,
    onDamaged: sayDamaged,
    ...(!settings().json && { readText: printable }),
  });
}

/** Prints a value as JSON where that was asked for, else as text. */
export function show(value: unknown, text: () => string): void {
  if (settings().json) say(JSON.stringify(value, null, 2));
  else out.write(text());
}
