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

/**
 * Without a graphics card WebGL is drawn by the processor. Pages themselves are painted without it: by way of WebGL's
 * stand-in that takes twice the processor time. `more`: further arguments.
 * @throws where there is no Chromium
 */
export function launchChromium(more: readonly string[] = []): Promise<Browser> {
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
      '--disable-gpu-compositing',
      '--disable-gpu-rasterization',
      ...more,
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
    touch = false,
  }: { width?: number; height?: number; theme?: 'light' | 'dark'; restarts?: boolean; touch?: boolean } = {},
): Promise<{ context: BrowserContext; page: Page }> {
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: theme,
    acceptDownloads: true,
    reducedMotion: 'reduce',
    hasTouch: touch,
  });
  context.setDefaultTimeout(60_000);
  const page = await context.newPage();
  await followIssues(page, wrong);
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

/** Rules of axe beside those of WCAG 2.1 AA by which Lighthouse scores the accessibility of a page. */
const LIGHTHOUSE_RULES = [
  'accesskeys',
  'aria-allowed-role',
  'aria-dialog-name',
  'aria-text',
  'aria-treeitem-name',
  'heading-order',
  'image-redundant-alt',
  'label-content-name-mismatch',
  'landmark-one-main',
  'meta-viewport',
  'skip-link',
  'tabindex',
  'table-duplicate-name',
  'target-size',
];

/**
 * What axe finds against WCAG 2.1 AA and Lighthouse’s further rules in a page, or against `only` some rules by their
 * names, and whether it is wider than its window; `where` is told with each.
 */
export async function accessibilityFaults(page: Page, where: string, only?: readonly string[]): Promise<string[]> {
  await page.evaluate(axe.source);
  const options = only
    ? { runOnly: only }
    : {
        runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'],
        rules: Object.fromEntries(LIGHTHOUSE_RULES.map((rule) => [rule, { enabled: true }])),
      };
  const faults = await page.evaluate(
    async ([place, asked]) => {
      const { violations } = await (
        globalThis as unknown as {
          axe: {
            run(options: object): Promise<{
              violations: { id: string; help: string; nodes: { target: unknown; failureSummary: string }[] }[];
            }>;
          };
        }
      ).axe.run(asked);
      return violations.map(
        ({ id, help, nodes }) =>
          `${place}: ${id}: ${help}: ${nodes
            .slice(0, 3)
            .map(({ target, failureSummary }) => `${String(target)} ${failureSummary}`)
            .join(' | ')}`,
      );
    },
    [where, options] as const,
  );
  const tooWide = await page.evaluate<number>('document.documentElement.scrollWidth - innerWidth');
  return tooWide > 0 ? [...faults, `${where} is ${tooWide} pixels wider than the window`] : faults;
}

/** What the browser tells of a page by itself that Lighthouse counts against its best practices. */
const ISSUES = [
  'BlockedByResponseIssue',
  'ContentSecurityPolicyIssue',
  'CookieIssue',
  'DeprecationIssue',
  'HeavyAdIssue',
  'MixedContentIssue',
  'QuirksModeIssue',
];
async function followIssues(page: Page, wrong: string[]): Promise<void> {
  const session = await page.context().newCDPSession(page);
  session.on('Audits.issueAdded', ({ issue }) => {
    if (ISSUES.includes(issue.code)) wrong.push(`issue: ${issue.code} ${JSON.stringify(issue.details)}`);
  });
  await session.send('Audits.enable');
}

/**
 * What Lighthouse scores as best practices and a page can break: its type and its encoding are declared, pictures are
 * neither distorted nor blurred, and every field lets one paste. Beside them: no text has so little room that its
 * letters stand below each other. Faults, deprecated features and requests to elsewhere
 * are watched for as long as a page is open (`openPage`).
 */
export const practiceFaults = (page: Page): Promise<string[]> =>
  page.evaluate<string[]>(`(() => {
    const faults = [];
    if (document.doctype?.name !== 'html' || document.compatMode !== 'CSS1Compat') faults.push('no doctype');
    if (document.characterSet !== 'UTF-8') faults.push('encoded as ' + document.characterSet);
    for (const image of document.images) {
      const { width, height } = image.getBoundingClientRect();
      const { naturalWidth, naturalHeight } = image;
      const { objectFit, imageRendering } = getComputedStyle(image);
      if (width < 5 || height < 5 || naturalWidth < 5 || naturalHeight < 5) continue;
      const told = (image.alt || image.src) + ' of ' + naturalWidth + ' x ' + naturalHeight + ' shown as ' +
        Math.round(width) + ' x ' + Math.round(height);
      if (objectFit === 'fill' && Math.abs(width - height * naturalWidth / naturalHeight) > Math.max(2, 0.05 * width))
        faults.push('distorted: ' + told);
      if (imageRendering === 'auto' && naturalWidth < 0.75 * width) faults.push('blurred: ' + told);
    }
    for (const field of document.querySelectorAll('input, textarea'))
      if (!field.dispatchEvent(new ClipboardEvent('paste', { cancelable: true })))
        faults.push('no pasting into ' + (field.name || field.id || field.type));
    for (const element of document.querySelectorAll('main :not(svg, svg *)')) {
      const text = [...element.childNodes].map((node) => (node.nodeType === 3 ? node.data.trim() : '')).join('');
      const { width, height } = element.getBoundingClientRect();
      if (text.length > 3 && width > 0 && width < 24 && height > 60) faults.push('written downwards: ' + text);
    }
    return faults;
  })()`);
