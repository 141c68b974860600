/** Machines with GPUs, made up: what nvidia-smi would print, and a trainer that says that it sees one. */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * Makes a folder with a program `nvidia-smi` in it that prints `listing` when it is asked for a list (-L), and
 * otherwise `table`, by lines. The folder, for PATH.
 */
export async function standInForNvidiaSmi(
  bin: string,
  { table, listing }: { table: readonly string[]; listing: readonly string[] },
): Promise<string> {
  await mkdir(bin, { recursive: true });
  const print = (lines: readonly string[]) => lines.map((line) => `echo "${line}"`).join('\n') || ':';
  const script = `#!/bin/sh\nif [ "$1" = -L ]; then\n${print(listing)}\nelse\n${print(table)}\nfi\n`;
  await writeFile(path.join(bin, 'nvidia-smi'), script, { mode: 0o755 });
  return bin;
}

/** The environment of a worker on a machine with two. `seen`: whether its TensorFlow is one for GPUs. */
export async function twoGpus(dir: string, { seen }: { seen: boolean }): Promise<Record<string, string>> {
  const cards = ['0, GPU-aaaa', '1, GPU-bbbb'];
  const bin = await standInForNvidiaSmi(path.join(dir, 'two-gpus'), {
    table: cards.map((card) => `${card}, NVIDIA A100-SXM4-80GB, 81920, 550.54`),
    listing: cards.map((card) => `GPU ${card.replace(', ', ': NVIDIA A100-SXM4-80GB (UUID: ')})`),
  });
  return {
    PATH: `${bin}:${process.env['PATH']!}`,
    ...(seen && { LOOM_TRAINER: fileURLToPath(new URL('./gpu-trainer.mjs', import.meta.url)) }),
  };
}
