/** A worker that takes nothing because of its machine, and runs that it gives back. */
import { expect } from 'vitest';
import { eventually } from './eventually.js';
import { expectKeptPromises } from './small-runs.js';
import type { Stack } from './stack.js';

/** The worker that takes runs, or would. */
export const workingOf = async (stack: Stack) =>
  (await stack.client.workers()).find(({ alive, state }) => alive && state === 'running');

/** Resolves when that worker says that it takes nothing because of this. */
export const impairedBy = (stack: Stack, why: string): Promise<void> =>
  eventually(async () => expect((await workingOf(stack))?.impairment).toContain(why), { timeoutMs: 30_000 });

/** Resolves when it takes runs. */
export const fit = (stack: Stack): Promise<void> =>
  eventually(async () => expect((await workingOf(stack))?.impairment).toBeNull(), { timeoutMs: 30_000 });

/** All of these succeed, were not charged for anything, and their files can be had. */
export async function uncharged(stack: Stack, ...ids: string[]): Promise<void> {
  for (const id of ids) {
    await stack.ended(id);
    const { attempts } = await stack.client.run(id);
    expect(attempts.filter(({ outcome }) => outcome === 'failed')).toEqual([]);
    for (const { id: file } of (await stack.client.artifacts(id)).items) {
      const answer = await fetch(stack.client.artifactUrl(id, file)).catch(() => undefined);
      expect(answer?.status).toBe(200);
      await answer!.arrayBuffer();
    }
  }
  await expectKeptPromises(stack, ids);
}

/** Each of these was taken from its worker uncharged, and waits to go on. */
export const givenBack = (stack: Stack, ...ids: string[]): Promise<void> =>
  eventually(
    async () => {
      for (const id of ids) {
        const { attempts } = await stack.client.run(id);
        expect(attempts[0]).toMatchObject({ outcome: 'preempted' });
      }
    },
    { timeoutMs: 30_000 },
  );
