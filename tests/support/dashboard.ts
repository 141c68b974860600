/** What the browser tests of the dashboard share: a stack, a Chromium, and a window for each test. */
import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { findChromium, launchChromium, openPage } from './browser.js';
import { startStack, type Stack } from './stack.js';

const found = findChromium();

/** A `describe` of tests in a browser; where there is no Chromium one skipped test says so in their place. */
export function describeInBrowser(name: string, tests: () => void): void {
  if ('missing' in found) test.skip(`${name} in a browser: ${found.missing}`, () => undefined);
  describe.skipIf('missing' in found)(name, tests);
}

/**
 * Starts a stack and a Chromium before the tests of a `describe`; `prepare` submits what the tests look at, and `made`
 * is what it returns. `open` opens the window of a test, which is closed after it; then no page may have had a fault,
 * asked for something that the policy forbids, or sent a request to another origin.
 */
export function dashboardOf<Made>(prepare: (stack: Stack) => Promise<Made>) {
  let stack: Stack | undefined;
  let browser: Browser | undefined;
  let made: Made;
  let opened: Awaited<ReturnType<typeof openPage>> | undefined;
  let wrong: string[] = [];

  beforeAll(async () => {
    stack = await startStack();
    made = await prepare(stack);
    browser = await launchChromium();
  });
  afterAll(async () => {
    await browser?.close();
    await stack?.stop();
  });
  beforeEach(() => {
    wrong = [];
  });
  afterEach(async () => {
    await opened?.context.close();
    opened = undefined;
    expect(wrong).toEqual([]);
  });

  return {
    get stack(): Stack {
      return stack!;
    },
    get made(): Made {
      return made;
    },
    async open(hash: string, window: Parameters<typeof openPage>[4] = {}): Promise<Page> {
      opened = await openPage(browser!, stack!.client.url, hash, wrong, window);
      return opened.page;
    },
  };
}

/** Width and height of a picture as it is stored. */
export const sizeOf = (page: Page, name: RegExp | string): Promise<number[]> =>
  page.getByRole('img', { name }).evaluate((element) => {
    const { naturalWidth, naturalHeight } = element as unknown as { naturalWidth: number; naturalHeight: number };
    return [naturalWidth, naturalHeight];
  });
