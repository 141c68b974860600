/** The system's Chromium, driven by playwright-core, which brings none of its own. */
import axe from 'axe-core';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome'];
const MACOS = [
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
];

/** Where a Chromium lies: `CHROMIUM_PATH`, else the first on the PATH; or what to do where there is none. */
export function findChromium(): { executable: string } | { missing: string } {
  const given = process.env['CHROMIUM_PATH'];
  if (given)
    return existsSync(given)
      ? { executable: given }
      : { missing: `expected a Chromium at CHROMIUM_PATH, found nothing at ${given}` };
  const found = [
    ...(process.env['PATH'] ?? '')
      .split(path.delimiter)
      .flatMap((folder) => NAMES.map((name) => path.join(folder, name))),
    ...MACOS,
  ].find((file) => existsSync(file));
  return found
    ? { executable: found }
    : {
        missing:
          'no Chromium on this machine: install one (Debian and Ubuntu: `sudo apt-get install chromium`) or name ' +
          'it in CHROMIUM_PATH',
      };
}

/** Without a graphics card WebGL is drawn by the processor. @throws where there is no Chromium */
export function launchChromium(): Promise<Browser> {
  const found = findChromium();
  if ('missing' in found) throw new Error(found.missing);
  return chromium.launch({
    executablePath: found.executable,
    args: [
      '--no-sandbox',
      '--use-angle=swiftshader',
      '--enable-unsafe-swiftshader',
      '--ignore-gpu-blocklist',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-first-run',
    ],
  });
}

/**
 * A window on a page of the dashboard at `url`. What must never happen goes to `wrong`: a fault in the page, something
 * that the policy forbids, a request to another origin. `restarts`: the API goes away and comes back meanwhile.
 */
export async function openPage(
  browser: Browser,
  url: string,
  hash: string,
  wrong: string[],
  {
    width = 1280,
    height = 900,
    theme = 'light',
    restarts = false,
  }: { width?: number; height?: number; theme?: 'light' | 'dark'; restarts?: boolean } = {},
): Promise<{ context: BrowserContext; page: Page }> {
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: theme,
    acceptDownloads: true,
    reducedMotion: 'reduce',
  });
  context.setDefaultTimeout(60_000);
  const page = await context.newPage();
  page.on('pageerror', (error) => wrong.push(`fault: ${error.stack ?? error.message}`));
  page.on('console', (message) => {
    const expected = restarts ? /ERR_|status of (422|503)/ : /ERR_INTERNET_DISCONNECTED|status of (404|409|422)/;
    if (message.type() === 'error' && !expected.test(message.text())) wrong.push(`console: ${message.text()}`);
  });
  page.on('request', (request) => {
    if (!request.url().startsWith(url) && !/^(data|blob):/.test(request.url()))
      wrong.push(`request to ${request.url()}`);
  });
  await page.goto(`${url}/${hash}`);
  return { context, page };
}

/** What axe finds against WCAG 2.1 AA in a page, and whether it is wider than its window; `where` is told with each. */
export async function accessibilityFaults(page: Page, where: string): Promise<string[]> {
  await page.evaluate(axe.source);
  const faults = await page.evaluate(async (place) => {
    const { violations } = await (
      globalThis as unknown as {
        axe: {
          run(options: object): Promise<{
            violations: { id: string; help: string; nodes: { target: unknown; failureSummary: string }[] }[];
          }>;
        };
      }
    ).axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'] });
    return violations.map(
      ({ id, help, nodes }) =>
        `${place}: ${id}: ${help}: ${nodes
          .slice(0, 3)
          .map(({ target, failureSummary }) => `${String(target)} ${failureSummary}`)
          .join(' | ')}`,
    );
  }, where);
  const tooWide = await page.evaluate<number>('document.documentElement.scrollWidth - innerWidth');
  return tooWide > 0 ? [...faults, `${where} is ${tooWide} pixels wider than the window`] : faults;
}
