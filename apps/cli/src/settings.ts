/**
 * Where the API is and what it is told: flags win over environment variables, these over the configuration file, and it
 * over what `loom up` started here.
 */
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { UsageError } from './usage-error.js';
import { didYouMean, faultsOf } from '#libs/contracts';
import { StackError } from './stack-lock.js';
import { readState } from './stack-state.js';

const Configuration = z.strictObject({
  url: z.url({ protocol: /^https?$/ }).optional(),
  key: z.string().min(1).optional(),
  timeout: z.number().gt(0).max(86_400).optional(),
});
type Configuration = z.infer<typeof Configuration>;

export interface Flags {
  url?: string | undefined;
  key?: string | undefined;
  timeout?: number | undefined;
  dir: string;
}
export interface Settings {
  url: string;
  key: string | undefined;
  timeoutMs: number;
}

const DEFAULT_TIMEOUT_SECONDS = 30;

/** `LOOM_CONFIG`, else `loom/config.yaml` where configuration is kept (XDG Base Directory). */
const configurationFile = (environment: NodeJS.ProcessEnv): string =>
  environment['LOOM_CONFIG'] ||
  path.join(
    environment['XDG_CONFIG_HOME'] || path.join(environment['HOME'] ?? homedir(), '.config'),
    'loom',
    'config.yaml',
  );

/** @throws UsageError for a file that was named and is not there, and for what it must not hold */
async function readConfiguration(environment: NodeJS.ProcessEnv): Promise<Configuration> {
  const file = configurationFile(environment);
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' && !environment['LOOM_CONFIG']) return '';
    throw new UsageError(
      `expected a configuration file that can be read, got ${file}: ` +
        `${error.code === 'ENOENT' ? 'it does not exist' : error.message}`,
    );
  });
  let content: unknown;
  try {
    content = parse(text) ?? {};
  } catch (error) {
    throw new UsageError(`${file}: expected YAML, ${(error as Error).message.split('\n')[0]}`);
  }
  const parsed = Configuration.safeParse(content, { reportInput: true });
  if (parsed.success) return parsed.data;
  const known = Object.keys(Configuration.shape);
  throw new UsageError(
    parsed.error.issues
      .map((issue) =>
        issue.code === 'unrecognized_keys'
          ? issue.keys
              .map(
                (key) => `${file}: ${key}: unknown field${didYouMean(key, known) || `: expected ${known.join(', ')}`}`,
              )
              .join('\n')
          : `${file}: ${issue.path.join('.') || 'document'}: ${faultsOf(issue)[0]!.message}`,
      )
      .join('\n'),
  );
}

/** @throws StackError where nothing says which address; UsageError where what says it is wrong */
export async function readSettings(flags: Flags, environment: NodeJS.ProcessEnv): Promise<Settings> {
  const configured = await readConfiguration(environment);
  const url = flags.url ?? (environment['LOOM_URL'] || configured.url) ?? (await readState(flags.dir))?.url;
  if (!url) throw new StackError('expected an address: start a stack here with `loom up`, or give --url or LOOM_URL');
  if (!/^https?:$/.test(URL.parse(url)?.protocol ?? ''))
    throw new UsageError(`expected an address such as http://127.0.0.1:3000, got ${url}`);
  return {
    url,
    key: flags.key ?? (environment['LOOM_KEY'] || keyFor(url, configured)),
    timeoutMs: 1000 * timeoutOf(flags, environment, configured),
  };
}

/** Seconds for which the API may be silent. */
function timeoutOf(flags: Flags, environment: NodeJS.ProcessEnv, configured: Configuration): number {
  const seconds =
    flags.timeout ?? Number(environment['LOOM_TIMEOUT'] || (configured.timeout ?? DEFAULT_TIMEOUT_SECONDS));
  if (!(seconds > 0 && seconds <= 86_400))
    throw new UsageError(`expected LOOM_TIMEOUT in seconds, above 0, got ${environment['LOOM_TIMEOUT']}`);
  return seconds;
}

/** The configured key, which is shown to the address that it was configured for and to no other. */
const keyFor = (url: string, configured: Configuration): string | undefined =>
  configured.url !== undefined && new URL(configured.url).origin === new URL(url).origin ? configured.key : undefined;
