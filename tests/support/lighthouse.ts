/** Lighthouse on pages of the dashboard, in a Chromium of its own. */
import lighthouse, { Audit, Gatherer, type Artifacts, type Config } from 'lighthouse';
import { pageFunctions } from 'lighthouse/core/lib/page-functions.js';
import { launchChromium } from './browser.js';
import type { PageOf } from './dashboard-pages.js';
import { freePort } from './processes.js';

// How fast the machine is, which takes a second of each page and which only scores of performance are seen by.
pageFunctions.computeBenchmarkIndex = () => 1000;

/** How long a page may take until what it is about is there. */
const SHOWN_WITHIN_MS = 30_000;

/** In the page: whether it has its heading, and nothing of it is still to come. */
const isShown = (heading: string): string => `(async () => {
  const begun = performance.now();
  for (;;) {
    const shown = [...document.querySelectorAll('h1')].map((each) => each.textContent);
    const whole = shown.includes(${JSON.stringify(heading)}) && !document.querySelector('.skeleton');
    if (whole || performance.now() - begun > ${SHOWN_WITHIN_MS}) return whole;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
})()`;

type Context = Parameters<Gatherer['getArtifact']>[0];

/** Waits until a page is there before anything is looked at. */
class Shown extends Gatherer {
  override meta: Gatherer['meta'] = { supportedModes: ['navigation'] };
  private whole = false;

  constructor(private readonly heading: string) {
    super();
  }

  override async stopSensitiveInstrumentation({ driver }: Context): Promise<void> {
    const { result } = await driver.defaultSession.sendCommand('Runtime.evaluate', {
      expression: isShown(this.heading),
      awaitPromise: true,
      returnByValue: true,
    });
    this.whole = result.value === true;
  }

  override getArtifact() {
    return this.whole as never;
  }
}

/** A page that did not come is none that has passed. */
class ShownAudit extends Audit {
  static override get meta(): typeof Audit.meta {
    return {
      id: 'shown',
      title: 'The page is there',
      failureTitle: 'The page did not come',
      description: 'Its heading, and nothing that is still to come.',
      requiredArtifacts: ['Shown' as never],
    };
  }

  static override audit(artifacts: Artifacts) {
    return { score: Number((artifacts as unknown as { Shown: boolean }).Shown) };
  }
}

/** Characters of what an audit names. */
const MOST_TOLD = 1500;

const CATEGORIES = ['accessibility', 'best-practices', 'shown'];

const configOf = (heading: string): Config =>
  ({
    extends: 'lighthouse:default',
    settings: {
      onlyCategories: CATEGORIES,
      formFactor: 'desktop',
      screenEmulation: { mobile: false, width: 1280, height: 900, deviceScaleFactor: 1, disabled: false },
      throttlingMethod: 'simulate',
      disableFullPageScreenshot: true,
      // `Shown` waits for what is waited for. A page that holds a stream is never quiet.
      ...{ pauseAfterFcpMs: 0, pauseAfterLoadMs: 0, networkQuietThresholdMs: 0, cpuQuietThresholdMs: 0 },
      maxWaitForLoad: 1000,
      // Each is opened in a tab of its own, of a browser of its own.
      skipAboutBlank: true,
      disableStorageReset: true,
    },
    artifacts: [{ id: 'Shown', gatherer: { instance: new Shown(heading) } }],
    audits: [{ implementation: ShownAudit }],
    categories: { shown: { title: 'Shown', auditRefs: [{ id: 'shown', weight: 1 }] } },
  }) as unknown as Config;

/**
 * What keeps pages at `url` from all points for accessibility and best practices, on a desktop: each audit that they
 * failed, with what it names. Some three seconds a page.
 */
export async function lighthouseFaults(url: string, pages: readonly PageOf[]): Promise<string[]> {
  const port = await freePort();
  const browser = await launchChromium([`--remote-debugging-port=${port}`]);
  try {
    const faults: string[] = [];
    for (const [hash, heading] of pages) {
      const { lhr } = (await lighthouse(`${url}/${hash}`, { port, logLevel: 'error' }, configOf(heading)))!;
      for (const category of CATEGORIES) {
        const { score = null, auditRefs = [] } = lhr.categories[category] ?? {};
        if (score === 1) continue;
        faults.push(`${hash}: ${category}: ${score}`);
        for (const { title, score: part, details } of auditRefs.map(({ id }) => lhr.audits[id]!))
          if (part !== null && part < 1)
            faults.push(`${hash}: ${title}: ${JSON.stringify(details).slice(0, MOST_TOLD)}`);
      }
    }
    return faults;
  } finally {
    await browser.close();
  }
}
