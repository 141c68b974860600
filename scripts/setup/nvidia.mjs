/** Whether this machine has an NVIDIA driver that works. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { Missing } from './step.mjs';

/** What Linux shows while a driver is loaded: the driver itself, or the door to that of Windows in WSL. */
const SIGNS = ['/proc/driver/nvidia', '/dev/dxg'];
const TIMEOUT_MS = 10_000;

/**
 * Asks `nvidia-smi`, and only where there is a sign of a driver: set-up runs before every command, and a driver that
 * hangs would hang them all.
 * @throws Missing where it does not answer in time: what it would have said is not guessed
 */
export function driverAnswers({ signs = SIGNS, timeoutMs = TIMEOUT_MS } = {}) {
  if (process.platform === 'linux' && !signs.some((sign) => existsSync(sign))) return false;
  const { status, error } = spawnSync('nvidia-smi', ['-L'], {
    stdio: 'ignore',
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
  });
  if (error?.code === 'ETIMEDOUT')
    throw new Missing(
      `nvidia-smi did not answer within ${timeoutMs / 1000} s: set LOOM_TENSORFLOW to cuda or cpu to go on without ` +
        'asking it, or mend the driver.',
    );
  return status === 0;
}
