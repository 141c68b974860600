/** A map of very many points in a browser: made up, drawn, and moved. */
import type { LoomClient } from '#libs/contracts';
import type { Page } from 'playwright-core';
import { expect } from 'vitest';

const MANY = 200_000;
/**
 * CPU time of the page's own work for each move of the pointer that drags the map: well within a frame of a sixtieth of
 * a second.
 */
const MOVE_CPU_MS = 8;

const LATER = { timeout: 30_000 };

/** Shows the map of an embed run as if it were of very many samples, and measures what moving it costs the page. */
export async function movesManyPoints(page: Page, client: LoomClient, embed: string): Promise<void> {
  const file = (await client.artifacts(embed)).items.find(({ name }) => name === 'maps.json')!;
  const { digest } = await client.dataset('stripes');
  const line = <T>(of: (i: number) => T) => Array.from({ length: MANY }, (_, i) => of(i));
  const noise = (i: number) => Math.sin(i * 12.9898) * Math.cos(i * 78.233);
  const labels = line((i) => i % 10);
  await page.route(`**/artifacts/${file.id}/content`, (route) =>
    route.fulfill({
      json: {
        dataset: `stripes@${digest.slice(0, 12)}`,
        split: 'train',
        samplesDigest: '0',
        rows: line((i) => i),
        classes: Array.from({ length: 10 }, (_, i) => `class ${i}`),
        labels,
        predictions: labels.toReversed(),
        predictedBy: 'neighbours',
        dimensions: 64,
        atlas: { columns: 71, tile: { width: 32, height: 32 }, points: line((i) => i), perFile: 5000 },
        maps: {
          umap: {
            x: line((i) => 3 * Math.cos((i % 10) * 0.63) + noise(i)),
            y: line((i) => 3 * Math.sin((i % 10) * 0.63) + noise(i + 0.5)),
            parameters: {},
          },
        },
      },
    }),
  );
  await page.goto(`${client.url}/#/maps/${embed}`);
  await page.getByText('200,000 samples').waitFor();
  await page.locator('.plot canvas').first().waitFor();
  const session = await page.context().newCDPSession(page);
  await session.send('Performance.enable', { timeDomain: 'threadTicks' });
  const counters = async () =>
    new Map((await session.send('Performance.getMetrics')).metrics.map(({ name, value }) => [name, value]));
  await page.evaluate(
    'globalThis.frames60 = 0; (function count() { globalThis.frames60++; requestAnimationFrame(count); })()',
  );
  const { x, y, width, height } = (await page.locator('.canvas').first().boundingBox())!;
  const moves = 3;
  /** CPU time of scripts and of all work of the page's thread, and wall time, for each move. */
  const measured = async (what: (i: number) => Promise<void>) => {
    const [before, frames, started] = [
      await counters(),
      await page.evaluate<number>('globalThis.frames60'),
      performance.now(),
    ];
    for (let i = 0; i < moves; i++) await what(i);
    const [after, drawn] = [await counters(), (await page.evaluate<number>('globalThis.frames60')) - frames];
    const spent = (name: string) => (1000 * (after.get(name)! - before.get(name)!)) / moves;
    return {
      scriptMs: spent('ScriptDuration'),
      threadMs: spent('TaskDuration'),
      wallMs: (performance.now() - started) / moves,
      frameMs: (performance.now() - started) / drawn,
    };
  };
  await page.mouse.move(x + width / 2, y + height / 2);
  const hover = await measured((i) =>
    page.mouse.move(x + width * (0.3 + 0.4 * Math.abs(Math.sin(i))), y + height * (0.3 + 0.4 * Math.abs(Math.cos(i)))),
  );
  await page.mouse.move(x + width / 2, y + height / 2);
  await page.mouse.down();
  const pan = await measured((i) =>
    page.mouse.move(x + width / 2 + 120 * Math.sin(i / 3), y + height / 2 + 80 * Math.cos(i / 3)),
  );
  await page.mouse.up();
  const zoom = await measured((i) => page.mouse.wheel(0, i % 20 < 10 ? -40 : 40));
  const told = Object.entries({ hover, pan, zoom }).map(
    ([name, times]) =>
      `${name}: ${Object.entries(times)
        .map(([key, value]) => `${key} ${value.toFixed(2)}`)
        .join(', ')}`,
  );
  process.stdout.write(`${MANY} points, for each move of the pointer:\n  ${told.join('\n  ')}\n`);
  await page.getByRole('button', { name: 'Whole', exact: true }).click();
  await page.getByText('Show', { exact: true }).click();
  await page.getByRole('checkbox', { name: 'contours of the density' }).check();
  await page.getByRole('checkbox', { name: 'what clusters are made of' }).check();
  // Ten heaps, each of a class of its own, and some of the neighbours' points.
  const clusters = page.getByRole('list', { name: 'What clusters are made of' }).getByRole('listitem');
  const leading = async () => new Set((await clusters.allTextContents()).map((text) => /^class \d/.exec(text)?.[0]));
  await expect.poll(async () => (await leading()).size, LATER).toBe(10);
  // The rasteriser's time is that of a processor here; of a graphics card it is well below a millisecond.
  for (const { scriptMs } of [hover, pan, zoom]) expect(scriptMs).toBeLessThan(MOVE_CPU_MS);
}
