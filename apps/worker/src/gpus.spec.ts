import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { standInForNvidiaSmi } from '../../../tests/support/gpus.js';
import { listGpus } from './gpus.js';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'loom-gpus-'));
});
afterEach(() => vi.unstubAllEnvs());
afterAll(() => rm(dir, { recursive: true, force: true }));

/** UUIDs of the GPUs of a machine on which nvidia-smi prints this, by what CUDA_VISIBLE_DEVICES is. */
async function machine(name: string, output: { table: string[]; listing: string[] }) {
  const bin = await standInForNvidiaSmi(path.join(dir, name), output);
  vi.stubEnv('PATH', `${bin}:${process.env['PATH']!}`);
  return async (visible?: string) => (await listGpus(visible)).map(({ uuid }) => uuid);
}

const TWO_CARDS = {
  table: ['0, GPU-aaaa, NVIDIA A100-SXM4-40GB, 40960, 550.54', '1, GPU-bbbb, NVIDIA H100 PCIe, 81559, 550.54'],
  listing: ['GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaa)', 'GPU 1: NVIDIA H100 PCIe (UUID: GPU-bbbb)'],
};
/** The first card is divided. */
const DIVIDED = {
  table: TWO_CARDS.table,
  listing: [
    'GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaa)',
    '  MIG 3g.20gb     Device  0: (UUID: MIG-1111)',
    '  MIG 1g.5gb      Device  1: (UUID: MIG-2222)',
    'GPU 1: NVIDIA H100 PCIe (UUID: GPU-bbbb)',
  ],
};

describe('cards', () => {
  test('all, or those that are visible by index or UUID', async () => {
    const uuids = await machine('cards', TWO_CARDS);
    expect(await uuids()).toEqual(['GPU-aaaa', 'GPU-bbbb']);
    expect(await uuids('1')).toEqual(['GPU-bbbb']);
    expect(await uuids('GPU-b, 0')).toEqual(['GPU-aaaa', 'GPU-bbbb']);
    expect(await uuids('')).toEqual([]);
    expect(await uuids('7')).toEqual([]);
  });

  test('none where nothing of the kind is installed', async () => {
    vi.stubEnv('PATH', dir);
    expect(await listGpus(undefined)).toEqual([]);
  });

  test('a driver that does not list them still tells of them in its table', async () => {
    const uuids = await machine('no-list', { ...TWO_CARDS, listing: [] });
    expect(await uuids()).toEqual(['GPU-aaaa', 'GPU-bbbb']);
  });
});

describe('instances that MIG has made of a card', () => {
  test('take its place, with what their profile says', async () => {
    await machine('mig', DIVIDED);
    expect(await listGpus(undefined)).toEqual([
      {
        index: 0,
        uuid: 'MIG-1111',
        name: 'NVIDIA A100-SXM4-40GB MIG 3g.20gb',
        memoryMiB: 19_073,
        driver: '550.54',
      },
      { index: 0, uuid: 'MIG-2222', name: 'NVIDIA A100-SXM4-40GB MIG 1g.5gb', memoryMiB: 4768, driver: '550.54' },
      { index: 1, uuid: 'GPU-bbbb', name: 'NVIDIA H100 PCIe', memoryMiB: 81_559, driver: '550.54' },
    ]);
  });

  test('are visible by their UUID, or with their card', async () => {
    const uuids = await machine('mig', DIVIDED);
    expect(await uuids('MIG-2222')).toEqual(['MIG-2222']);
    expect(await uuids('MIG-1111,GPU-bbbb')).toEqual(['MIG-1111', 'GPU-bbbb']);
    expect(await uuids('0')).toEqual(['MIG-1111', 'MIG-2222']);
    expect(await uuids('GPU-aaaa')).toEqual(['MIG-1111', 'MIG-2222']);
    expect(await uuids('MIG-3333')).toEqual([]);
  });

  test('are visible by card and place, as older drivers name them, whatever the driver lists', async () => {
    const entry = 'MIG-GPU-aaaa/1/1';
    const old = await machine('mig-old', {
      ...DIVIDED,
      listing: [
        DIVIDED.listing[0]!,
        `  MIG 3g.20gb Device 0: (UUID: ${entry})`,
        '  MIG 1g.5gb Device 1: (UUID: MIG-GPU-aaaa/1/10)',
      ],
    });
    expect(await old(entry)).toEqual([entry]);
    const young = await machine('mig', DIVIDED);
    expect(await young(entry)).toEqual([entry]);
    expect(await young('MIG-GPU-cccc/1/1')).toEqual([]);
  });
});
