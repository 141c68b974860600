import { pino } from 'pino';
import { expect, test } from 'vitest';
import { Fitness } from './fitness.js';
import type { Impairment, Storage } from './storage.js';

/** A worker whose storage is found to be like that, look by look, and then for good as in the last one. */
function fitnessWith(...found: (Impairment | undefined)[]): Fitness {
  const look = () => Promise.resolve(found.length > 1 ? found.shift() : found[0]);
  return new Fitness({
    storage: { look } as unknown as Storage,
    log: pino({ level: 'silent' }),
    startTrainer: () => Promise.resolve(undefined),
    tell: () => Promise.resolve(),
    onChange: () => undefined,
  });
}

const NO_INODES: Impairment = { kind: 'storage', why: '0 inodes are left' };
const FULL = { reason: 'disk_full', message: 'no space is left', code: 'ENOSPC' };

test('storage that lacked something a moment ago is to blame for a run that found no room', async () => {
  const fitness = fitnessWith(NO_INODES, undefined);
  expect(await fitness.isFit()).toBe(false);
  expect(await fitness.blameFor(FULL)).toEqual({ why: NO_INODES.why, lasts: false });
  expect(await fitness.blameFor({ reason: 'internal_error', message: 'a bug' })).toBeUndefined();
});

test('a volume that was away a moment ago is to blame for a run that missed its files', async () => {
  const away: Impairment = { kind: 'storage', why: 'the store is gone: is the volume mounted?' };
  const missed = { reason: 'internal_error', message: 'ENOENT: no such file or directory', code: 'ENOENT' };
  const fitness = fitnessWith(away, undefined);
  expect(await fitness.isFit()).toBe(false);
  expect(await fitness.blameFor(missed)).toEqual({ why: away.why, lasts: false });
  expect(await fitnessWith(undefined).blameFor(missed)).toBeUndefined();
});

test('a run that fills the disk by itself has itself to blame', async () => {
  const space: Impairment = { kind: 'space', why: 'too little space is left' };
  const fitness = fitnessWith(undefined, space, undefined);
  expect(await fitness.isFit()).toBe(true);
  expect(await fitness.blameFor(FULL)).toBeUndefined();
});
