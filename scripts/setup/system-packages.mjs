/** What comes from the system's own packages: nothing is started here. */
import { existsSync } from 'node:fs';
import { Missing, onPath, run, say, seconds } from './step.mjs';

/** Installs a package of Debian's as root; elsewhere it says how to. */
async function install(name, manual) {
  if (process.platform !== 'linux' || process.getuid?.() !== 0 || !onPath('apt-get')) throw new Missing(manual);
  const started = performance.now();
  say(`installing ${name} with apt-get …`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  try {
    await run('apt-get', ['update', '-qq'], { env, label: 'apt-get update' });
    await run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', name], { env, label: 'apt-get install' });
  } catch (error) {
    throw new Missing(`${manual} apt-get said: ${error.message.split('\n').at(-1)}`);
  }
  say(`${name} installed in ${seconds(started)}`);
}

/** Redis, unless REDIS_URL names one that runs. */
export async function provideRedis() {
  if (process.env.REDIS_URL || ['redis-server', 'valkey-server', 'keydb-server'].some(onPath)) return;
  await install(
    'redis-server',
    'Redis is missing: install it (Debian and Ubuntu: `sudo apt-get install redis-server`; macOS: `brew install ' +
      'redis`) or set REDIS_URL, and run the command again.',
  );
}

/** PgBouncer, behind which tests put what the product must not be put behind. */
export async function providePgBouncer() {
  // Debian has it where only root's PATH leads.
  if (onPath('pgbouncer') || existsSync('/usr/sbin/pgbouncer')) return;
  await install(
    'pgbouncer',
    'PgBouncer is missing, which the tests need: install it (Debian and Ubuntu: `sudo apt-get install pgbouncer`; ' +
      'macOS: `brew install pgbouncer`) and run the command again.',
  );
}

const CHROMIUM = ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome'];
const CHROMIUM_ON_MACOS = [
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
];

/** A Chromium for `npm run e2e`, where `tests/support/browser.ts` looks for one, unless CHROMIUM_PATH names it. */
export async function provideChromium() {
  if (process.env.CHROMIUM_PATH || CHROMIUM.some(onPath) || CHROMIUM_ON_MACOS.some((file) => existsSync(file))) return;
  await install(
    'chromium',
    'Chromium is missing, in which the dashboard is tested: install it (Debian and Ubuntu: `sudo apt-get install ' +
      'chromium`) or name one in CHROMIUM_PATH, and run the command again.',
  );
}
