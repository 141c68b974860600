/** Machines with GPUs, made up: what nvidia-smi would print, and a trainer that says that it sees one. */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * Makes a folder with a program `nvidia-smi` in it that prints `listing` when it is asked for a list (-L), `usage` when
 * it is asked how far its cards are used, and otherwise `table`, by lines. The folder, for PATH.
 */
export async function standInForNvidiaSmi(
  bin: string,
  { table, listing, usage = [] }: { table: readonly string[]; listing: readonly string[]; usage?: readonly string[] },
): Promise<string> {
  await mkdir(bin, { recursive: true });
  const print = (lines: readonly string[]) => lines.map((line) => `echo "${line}"`).join('\n') || ':';
  const script = `#!/bin/sh
case "$1" in
-L) ${print(listing)} ;;
*utilization*) ${print(usage)} ;;
*) ${print(table)} ;;
esac
`;
  await writeFile(path.join(bin, 'nvidia-smi'), script, { mode: 0o755 });
  return bin;
}

/** The environment of a worker on a machine with two. `seen`: whether its TensorFlow is one for GPUs. */
export async function twoGpus(dir: string, { seen }: { seen: boolean }): Promise<Record<string, string>> {
  const cards = ['0, GPU-aaaa', '1, GPU-bbbb'];
  const bin = await standInForNvidiaSmi(path.join(dir, 'two-gpus'), {
    table: cards.map((card) => `${card}, NVIDIA A100-SXM4-80GB, 81920, 550.54`),
    listing: cards.map((card) => `GPU ${card.replace(', ', ': NVIDIA A100-SXM4-80GB (UUID: ')})`),
    usage: ['0, 87, 30211, 64', '1, 3, 512, [N/A]'],
  });
  return {
    PATH: `${bin}:${process.env['PATH']!}`,
    ...(seen && { LOOM_TRAINER: fileURLToPath(new URL('./gpu-trainer.mjs', import.meta.url)) }),
  };
}
