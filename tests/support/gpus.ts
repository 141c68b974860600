/** Machines with two GPUs, made up: what nvidia-smi would print, and a trainer that says that it sees one. */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The environment of a worker there. `seen`: whether its TensorFlow is one for GPUs. */
export async function twoGpus(dir: string, { seen }: { seen: boolean }): Promise<Record<string, string>> {
  const bin = path.join(dir, 'two-gpus');
  await mkdir(bin, { recursive: true });
  const lines = ['0, GPU-aaaa', '1, GPU-bbbb'].map((gpu) => `echo "${gpu}, NVIDIA A100-SXM4-80GB, 81920, 550.54"\n`);
  await writeFile(path.join(bin, 'nvidia-smi'), `#!/bin/sh\n${lines.join('')}`, { mode: 0o755 });
  return {
    PATH: `${bin}:${process.env['PATH']!}`,
    ...(seen && { LOOM_TRAINER: fileURLToPath(new URL('./gpu-trainer.mjs', import.meta.url)) }),
  };
}
