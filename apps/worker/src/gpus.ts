import type { Gpu } from '#libs/contracts';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const FIELDS = ['index', 'uuid', 'name', 'memory.total', 'driver_version'];
const TIMEOUT_MS = 20_000;

/** The GPUs in what nvidia-smi printed; memory in MiB. */
function parse(csv: string): Gpu[] {
  return csv
    .split('\n')
    .filter(Boolean)
    .map((line) => {
      const [index = '', uuid = '', name = '', memory = '', driver = ''] = line.split(',').map((cell) => cell.trim());
      // A GPU that shares its memory with the machine has none of its own to tell.
      return {
        index: Number(index),
        uuid,
        name,
        memoryMiB: Number.isFinite(Number(memory)) ? Number(memory) : 0,
        driver,
      };
    })
    .filter(({ index, uuid }) => Number.isInteger(index) && uuid.startsWith('GPU-'));
}

/**
 * The GPUs that this machine has and that `visible`, a worker's own CUDA_VISIBLE_DEVICES, leaves to it; none where
 * there is no NVIDIA driver.
 */
export async function listGpus(visible: string | undefined): Promise<Gpu[]> {
  const printed = await promisify(execFile)(
    'nvidia-smi',
    [`--query-gpu=${FIELDS.join(',')}`, '--format=csv,noheader,nounits'],
    { timeout: TIMEOUT_MS },
  ).catch(() => undefined);
  const all = printed ? parse(printed.stdout) : [];
  if (visible === undefined) return all;
  const wanted = visible.split(',').map((each) => each.trim());
  return all.filter(({ index, uuid }) =>
    wanted.some((each) => each === String(index) || (each.startsWith('GPU-') && uuid.startsWith(each))),
  );
}
