/** What the suites of the command line share: a stack that knows the dataset `stripes`, and a folder to stand in. */
import type { LoomClient } from '#libs/contracts';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, afterEach, beforeAll } from 'vitest';
import { prepareStripes } from './small-runs.js';
import { startStack, type Stack } from './stack.js';
import { piped, type Ended } from './terminal.js';

export let stack: Stack;
export let client: LoomClient;
export let cwd: string;

/** A stack for this file. What a test leaves running is cancelled after it. */
export function useCli(): void {
  beforeAll(async () => {
    stack = await startStack({ environment: { LOOM_CHECKPOINT_SECONDS: '0.4' } });
    ({ client } = stack);
    cwd = path.join(stack.dir, 'here');
    await mkdir(cwd);
    await prepareStripes(stack);
  }, 90_000);
  afterEach(() => stack.clear());
  afterAll(() => stack?.stop());
}

/** `loom` without a terminal, told where the stack is. */
export const loom = (
  args: readonly string[],
  { env = {}, ...more }: { input?: string; env?: Record<string, string> } = {},
): Promise<Ended> => piped(args, { cwd, env: { LOOM_URL: client.url, ...env }, ...more }).ended;
export const parsed = <Value>(text: string): Value => JSON.parse(text) as Value;
