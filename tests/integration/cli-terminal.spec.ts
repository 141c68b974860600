/** The command line in a terminal: what people see, and what Ctrl-C does. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { client, cwd, stack, useCli } from '../support/cli.js';
import { eventually } from '../support/eventually.js';
import { startProxy, type Proxy } from '../support/proxy.js';
import { LONG } from '../support/small-runs.js';
import { terminal as open } from '../support/terminal.js';

useCli();

const opened: ReturnType<typeof open>[] = [];
afterEach(() => {
  for (const screen of opened.splice(0)) screen.close();
});

function terminal(
  args: readonly string[],
  { env = {}, ...more }: { columns?: number; rows?: number; env?: Record<string, string> } = {},
) {
  const screen = open(args, { cwd, env: { LOOM_URL: client.url, ...env }, ...more });
  opened.push(screen);
  return screen;
}
const ESCAPE = '\u001b';
const CTRL_C = '\u0003';

/** The only line about the run, once it has trained at least so far. */
const lineAt = (screen: ReturnType<typeof terminal>, step: number) =>
  eventually(
    async () => {
      const lines = (await screen.lines()).filter((line) => line.startsWith('pretrain'));
      expect(lines, screen.raw()).toHaveLength(1);
      expect(Number(/ (\d+)\/\d+/.exec(lines[0]!)?.[1] ?? 0)).toBeGreaterThanOrEqual(step);
      return lines[0]!;
    },
    { timeoutMs: 40_000 },
  );
const stepOf = (line: string) => Number(/ (\d+)\/\d+/.exec(line)![1]);

/** Room for all that a line has, however long its times and numbers are. */
const WIDE = 160;
const WITH_ALL = /^pretrain +running [█░]+ \d+\/96000 {2}\S+ steps\/s {2}.* left {2}[▁-█]+ {2}loss \d/;

describe('in a terminal', () => {
  test('a run has one line, drawn anew in place, that follows the width; Ctrl-C leaves the run alone', async () => {
    stack.startWorker();
    const id = await stack.submit(LONG);
    const screen = terminal(['watch', id], { columns: WIDE });
    const first = await lineAt(screen, 1);
    const line = await eventually(async () => {
      const now = await lineAt(screen, stepOf(first) + 1);
      expect(now).toMatch(WITH_ALL);
      return now;
    });
    expect(screen.raw().split(`${ESCAPE}[1A`).length).toBeGreaterThan(2);
    expect(screen.cursorShown()).toBe(false);

    // What was drawn before is wrapped by the terminal, and must be gone all the same.
    screen.resize(50);
    const narrow = await eventually(async () => {
      const now = await lineAt(screen, stepOf(line) + 1);
      expect(now.length).toBeLessThan(50);
      expect(now).toMatch(/^pretrain +running [█░]+ \d+\/96000/);
      expect(now).not.toMatch(WITH_ALL);
      expect(await screen.lines()).toHaveLength(1);
      return now;
    });
    screen.resize(WIDE);
    await eventually(async () => expect(await lineAt(screen, stepOf(narrow) + 1)).toMatch(WITH_ALL));

    screen.type(CTRL_C);
    expect(await screen.exit).toBe(130);
    expect(screen.cursorShown()).toBe(true);
    expect((await screen.lines()).join('')).toContain(`loom cancel ${id}`);
    expect((await client.run(id)).status).toBe('running');
  }, 120_000);

  test('Ctrl-C cancels where that was asked for', async () => {
    stack.startWorker();
    await writeFile(
      path.join(cwd, 'long.json'),
      JSON.stringify({ spec: LONG, onDuplicate: 'replicate', tags: ['long'] }),
    );
    const screen = terminal(['submit', 'long.json', '--watch', '--cancel-on-interrupt']);
    await lineAt(screen, 1);
    screen.type(CTRL_C);
    expect(await screen.exit).toBe(130);
    expect(screen.cursorShown()).toBe(true);
    const [id] = (await client.runs({ tag: 'long' })).items.map((each) => each.id);
    expect((await screen.lines()).join('\n')).toContain(`cancelled ${id}`);
    await stack.ended(id!, 'cancelled');
  }, 90_000);

  test('Ctrl-C on a sweep says how to go on, or cancels it', async () => {
    stack.startWorker();
    await writeFile(
      path.join(cwd, 'sweep.json'),
      JSON.stringify({
        name: 'long',
        stages: { pretrain: LONG },
        parameters: { 'pretrain.seed': { values: [7, 8] } },
        metric: { name: 'eval/knn' },
      }),
    );
    const screen = terminal(['submit', 'sweep.json', '--watch'], { columns: 200 });
    const running = (of: typeof screen) =>
      eventually(async () => expect((await of.lines()).join('\n')).toMatch(/running █*░+ \d/), { timeoutMs: 40_000 });
    await running(screen);
    screen.type(CTRL_C);
    expect(await screen.exit).toBe(130);
    const id = /loom sweep (\S+) --cancel/.exec((await screen.lines()).join(''))![1]!;
    expect((await client.sweep(id)).status).toBe('running');
    const again = terminal(['watch', id, '--cancel-on-interrupt']);
    await running(again);
    again.type(CTRL_C);
    expect(await again.exit).toBe(130);
    await eventually(async () => expect((await client.sweep(id)).status).toBe('cancelled'), { timeoutMs: 30_000 });
  }, 120_000);

  test('there are colours, unless NO_COLOR says otherwise', async () => {
    const coloured = terminal(['runs'], { columns: 160 });
    const plain = terminal(['runs'], { columns: 160, env: { NO_COLOR: '1' } });
    expect(await Promise.all([coloured.exit, plain.exit])).toEqual([0, 0]);
    expect(coloured.raw()).toContain(`${ESCAPE}[32msucceeded${ESCAPE}[39m`);
    expect(plain.raw()).not.toContain(ESCAPE);
    const withoutAge = async (screen: typeof plain) =>
      (await screen.lines()).map((line) => line.replace(/\d+ (s|min)$/, ''));
    expect(await withoutAge(plain)).toEqual(await withoutAge(coloured));
  });

  describe('an API that goes away in the middle', () => {
    let proxy: Proxy & { url: string };
    beforeAll(async () => {
      proxy = await startProxy(client.url);
    });
    afterAll(() => proxy.close());

    test('does not keep Ctrl-C from ending a command', async () => {
      const asked = new Promise<void>((resolve) =>
        proxy.when('GET /v1/runs', () => {
          proxy.freeze();
          resolve();
        }),
      );
      const screen = terminal(['runs'], { env: { LOOM_URL: proxy.url } });
      await asked;
      screen.type(CTRL_C);
      expect(await screen.exit).toBe(130);
      proxy.heal();
    }, 25_000);

    test.each(['freeze', 'cut'] as const)(
      'is told and waited for (%s)',
      async (fault) => {
        stack.startWorker();
        const id = await stack.submit(LONG);
        const screen = terminal(['watch', id, '--timeout', '2'], { columns: 120, env: { LOOM_URL: proxy.url } });
        const before = stepOf(await lineAt(screen, 1));
        proxy[fault]();
        await eventually(
          async () =>
            expect((await screen.lines()).at(-1)).toMatch(
              /^expected an API at http:\/\/127\.0\.0\.1:\d+, got no answer: .*trying again/,
            ),
          { timeoutMs: 30_000 },
        );
        proxy.heal();
        await lineAt(screen, before + 1);
        await eventually(async () => expect((await screen.lines()).join('')).not.toContain('trying again'), {
          timeoutMs: 30_000,
        });
        screen.type(CTRL_C);
        expect(await screen.exit).toBe(130);
      },
      120_000,
    );
  });
});
