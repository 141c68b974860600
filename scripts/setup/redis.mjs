import { Missing, onPath, run, say, seconds } from './step.mjs';

/** Redis as the system has it; nothing is started here. */
export async function provideRedis() {
  if (process.env.REDIS_URL || ['redis-server', 'valkey-server', 'keydb-server'].some(onPath)) return;
  const manual =
    'Redis is missing: install it (Debian and Ubuntu: `sudo apt-get install redis-server`; macOS: `brew install ' +
    'redis`) or set REDIS_URL, and run the command again.';
  if (process.platform !== 'linux' || process.getuid?.() !== 0 || !onPath('apt-get')) throw new Missing(manual);
  const started = performance.now();
  say('installing redis-server with apt-get …');
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  try {
    await run('apt-get', ['update', '-qq'], { env, label: 'apt-get update' });
    await run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'redis-server'], {
      env,
      label: 'apt-get install',
    });
  } catch (error) {
    throw new Missing(`${manual} apt-get said: ${error.message.split('\n').at(-1)}`);
  }
  say(`redis-server installed in ${seconds(started)}`);
}
