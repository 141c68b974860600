import type { MetricPoint } from '#libs/contracts';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { standInForNvidiaSmi } from '../../../tests/support/gpus.js';
import { GpuUsage } from './gpu-usage.js';
import { UsageMeter } from './usage-meter.js';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'loom-usage-'));
});
afterEach(() => vi.unstubAllEnvs());
afterAll(() => rm(dir, { recursive: true, force: true }));

describe('a trainer of which the system tells', () => {
  let now = 0;
  let told: MetricPoint[] = [];
  beforeEach(() => {
    now = 5000;
    told = [];
  });

  /** What procfs says of process 7 from here on: its processor time in ticks, by kind, and its memory. */
  async function process7([user, system, ofChildren]: number[], kibibytes: number | undefined) {
    await mkdir(path.join(dir, '7'), { recursive: true });
    const before = '7 (a) name) S 1 7 7 0 -1 4194560 9 0 0 0';
    await writeFile(path.join(dir, '7', 'stat'), `${before} ${user} ${system} ${ofChildren} 0 20 0 4 0 99 1 2\n`);
    await writeFile(
      path.join(dir, '7', 'status'),
      `Name:\tnode\nVmHWM:\t 9 kB\n${kibibytes === undefined ? '' : `VmRSS:\t  ${kibibytes} kB\n`}Threads:\t4\n`,
    );
  }
  const meter = (ageS: number) =>
    new UsageMeter({ pid: 7 }, ageS, (points) => told.push(...points), {
      proc: dir,
      now: () => now,
      gpus: { of: () => Promise.reject(new Error('expected no question about GPUs')) },
    });
  const points = () => told.map(({ key, step, value }) => [key.replace('system/', ''), step, Number(value.toFixed(3))]);

  test('its memory at once, and what it has used of the processor since the reading before', async () => {
    await process7([1000, 200, 0], 2048);
    const usage = meter(0);
    now += 3;
    usage.begin();
    await expect.poll(points).toEqual([['memory_mib', 3, 2]]);
    usage.watch();
    await process7([1250, 210, 40], 4096);
    now += 2;
    usage.watch();
    await expect.poll(points).toEqual([
      ['memory_mib', 3, 2],
      ['cpu_percent', 5, 150],
      ['memory_mib', 5, 4],
    ]);
    now += 9;
    usage.watch();
    await usage.end(false);
    expect(told).toHaveLength(3);
  });

  test('a last time when it has said its last word, as far as it is still there', async () => {
    await process7([0, 0, 0], 1024);
    const usage = meter(0);
    usage.begin();
    await expect.poll(points).toHaveLength(1);
    now += 4;
    await process7([100, 0, 0], undefined);
    await usage.end(true);
    expect(points().slice(1)).toEqual([['cpu_percent', 4, 25]]);
    await usage.end(true);
    usage.watch();
    expect(told).toHaveLength(2);
  });

  test('nothing of a process that is not there', async () => {
    await rm(path.join(dir, '7'), { recursive: true, force: true });
    const usage = meter(0);
    usage.begin();
    now += 20;
    await usage.end(true);
    expect(told).toEqual([]);
  });

  test('the older a run is the less often it is read; a later attempt goes on where an earlier one was', async () => {
    await process7([0, 0, 0], 1024);
    const steps = async (ageS: number, seconds: number) => {
      told = [];
      const usage = meter(ageS);
      usage.begin();
      for (const end = now + seconds; now < end; now++) usage.watch();
      await usage.end(true);
      return [...new Set(told.map(({ step }) => step))];
    };
    expect(await steps(0, 42)).toEqual([0, 1, 11, 21, 31, 41, 42]);
    const day = 86_400;
    expect((await steps(day, 700)).slice(0, 5)).toEqual([day, day + 1, day + 174, day + 348, day + 522]);
  });
});

test('GPUs are asked once for all runs; of a part that MIG has made only the temperature is known', async () => {
  const bin = await standInForNvidiaSmi(path.join(dir, 'bin'), {
    table: [],
    listing: [],
    usage: ['0, 87, 30211, 64', '1, 3, 512, [N/A]', '2, [N/A], 77, 40'],
  });
  vi.stubEnv('PATH', `${bin}:${process.env['PATH']!}`);
  const usage = new GpuUsage();
  const gpu = { name: 'A100', memoryMiB: 40_000, driver: '1' };
  const asked = [
    usage.of({ ...gpu, index: 0, uuid: 'GPU-a' }),
    usage.of({ ...gpu, index: 1, uuid: 'GPU-b' }),
    usage.of({ ...gpu, index: 2, uuid: 'MIG-c' }),
    usage.of({ ...gpu, index: 3, uuid: 'GPU-d' }),
  ];
  expect(await Promise.all(asked)).toEqual([
    { 'system/gpu_percent': 87, 'system/gpu_memory_mib': 30_211, 'system/gpu_temperature_c': 64 },
    { 'system/gpu_percent': 3, 'system/gpu_memory_mib': 512 },
    { 'system/gpu_temperature_c': 40 },
    {},
  ]);
  await rm(path.join(bin, 'nvidia-smi'));
  expect(await usage.of({ ...gpu, index: 0, uuid: 'GPU-a' })).toMatchObject({ 'system/gpu_percent': 87 });
  expect(await new GpuUsage().of({ ...gpu, index: 0, uuid: 'GPU-a' })).toEqual({});
});
