/** How far GPUs are used, as nvidia-smi tells it. */
import type { Gpu, UsageMetric } from '#libs/contracts';
import { askNvidiaSmi } from './gpus.js';

const FIELDS = ['index', 'utilization.gpu', 'memory.used', 'temperature.gpu'];
/** A driver that takes longer says nothing this time. */
const TIMEOUT_MS = 5000;
/** Runs that ask within so long share an answer. */
const SHARED_MS = 5000;

interface Reading {
  index: number;
  percent: number;
  memoryMiB: number;
  celsius: number;
}

/** Asked once for all runs of a worker. */
export class GpuUsage {
  private askedAt = Number.NEGATIVE_INFINITY;
  private asked: Promise<Reading[]> = Promise.resolve([]);

  /**
   * What is known of a GPU, by metric. Of an instance that MIG has made of a card that is the temperature of the card:
   * the rest is told of all instances together.
   */
  async of({ index, uuid }: Gpu): Promise<Partial<Record<UsageMetric, number>>> {
    if (performance.now() - this.askedAt > SHARED_MS) {
      this.askedAt = performance.now();
      this.asked = readings();
    }
    const reading = (await this.asked).find((each) => each.index === index);
    if (!reading) return {};
    const found: Partial<Record<UsageMetric, number>> = { 'system/gpu_temperature_c': reading.celsius };
    if (!uuid.startsWith('MIG-')) {
      found['system/gpu_percent'] = reading.percent;
      found['system/gpu_memory_mib'] = reading.memoryMiB;
    }
    return Object.fromEntries(Object.entries(found).filter(([, value]) => Number.isFinite(value)));
  }
}

/** A row for each card; what the driver does not know of one (`[N/A]`) is NaN. */
async function readings(): Promise<Reading[]> {
  const query = [`--query-gpu=${FIELDS.join(',')}`, '--format=csv,noheader,nounits'];
  const table = (await askNvidiaSmi(query, TIMEOUT_MS)) ?? '';
  return table
    .split('\n')
    .filter(Boolean)
    .map((line) => {
      const [index, percent, memoryMiB, celsius] = line.split(',').map(Number);
      return { index: index!, percent: percent!, memoryMiB: memoryMiB!, celsius: celsius! };
    });
}
