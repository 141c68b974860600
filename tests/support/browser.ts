/** The system's Chromium, driven by playwright-core, which brings none of its own. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { chromium, type Browser } from 'playwright-core';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome'];
const MACOS = ['/Applications/Google Chrome.app/Contents/MacOS/Google Chrome', '/Applications/Chromium.app/Contents/MacOS/Chromium'];

/** Where a Chromium lies: `CHROMIUM_PATH`, else the first on the PATH; or what to do where there is none. */
export function findChromium(): { executable: string } | { missing: string } {
  const given = process.env['CHROMIUM_PATH'];
  if (given) return existsSync(given) ? { executable: given } : { missing: `expected a Chromium at CHROMIUM_PATH, found nothing at ${given}` };
  const found = [...(process.env['PATH'] ?? '').split(path.delimiter).flatMap((folder) => NAMES.map((name) => path.join(folder, name))), ...MACOS].find((file) => existsSync(file));
  return found ? { executable: found } : { missing: 'no Chromium on this machine: install one (Debian and Ubuntu: `sudo apt-get install chromium`) or name it in CHROMIUM_PATH' };
}

/** Without a graphics card WebGL is drawn by the processor. @throws where there is no Chromium */
export function launchChromium(): Promise<Browser> {
  const found = findChromium();
  if ('missing' in found) throw new Error(found.missing);
  return chromium.launch({
    executablePath: found.executable,
    args: ['--no-sandbox', '--use-angle=swiftshader', '--enable-unsafe-swiftshader', '--ignore-gpu-blocklist', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'],
  });
}
