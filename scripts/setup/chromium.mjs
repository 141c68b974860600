/**
 * A Chromium for `npm run e2e`, as the system has it: `tests/support/browser.ts` looks in the same places. Where there
 * is none it comes from Debian's packages, which only root can install.
 *
 * Runs on plain Node 20 without packages.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome'];
const MACOS = [
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
];
const MANUAL =
  'Chromium is missing, in which the dashboard is tested: install it (Debian and Ubuntu: `sudo apt-get install ' +
  'chromium`) or name one in CHROMIUM_PATH, and run the command again.';

const onPath = (name) =>
  (process.env.PATH ?? '').split(path.delimiter).some((folder) => existsSync(path.join(folder, name)));

/**
 * Does nothing where a Chromium is there, or is named by CHROMIUM_PATH.
 *
 * @param {(line: string) => void} say told what takes long
 * @throws {Error} in one sentence, where it can't be installed from here
 */
export function provideChromium(say) {
  if (process.env.CHROMIUM_PATH || NAMES.some(onPath) || MACOS.some((file) => existsSync(file))) return;
  if (process.platform !== 'linux' || process.getuid?.() !== 0 || !onPath('apt-get')) throw new Error(MANUAL);
  const started = performance.now();
  say('installing chromium with apt-get …');
  const apt = (...args) => {
    const { status, stderr, error } = spawnSync('apt-get', args, {
      encoding: 'utf8',
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    });
    if (status === 0) return;
    throw new Error(`${MANUAL} apt-get said: ${error?.message ?? stderr.trim().split('\n').at(-1)}`);
  };
  apt('update', '-qq');
  apt('install', '-y', '-qq', '--no-install-recommends', 'chromium');
  say(`chromium installed in ${((performance.now() - started) / 1000).toFixed(1)} s`);
}
