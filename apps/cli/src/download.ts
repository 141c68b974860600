/** Files of a run, from the API to a folder. */
import type { Artifact, LoomClient } from '#libs/contracts';
import { createHash } from 'node:crypto';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';

/**
 * Fetches a file into a folder, and gives its path there. It gets its name once it has proved whole by its sha256; else
 * nothing stays.
 */
export async function download(
  api: Pick<LoomClient, 'download'>,
  { runId, id, name, sha256 }: Pick<Artifact, 'runId' | 'id' | 'name' | 'sha256'>,
  folder: string,
  signal?: AbortSignal,
): Promise<string> {
  await mkdir(folder, { recursive: true });
  const target = path.join(folder, path.basename(name));
  const hash = createHash('sha256');
  // Opened before anything can fail: a stream that opens it by itself could do so after it was removed.
  const part = await open(`${target}.part`, 'w');
  try {
    // The signal is given to the stream: a pipeline that is aborted waits for a chunk that may never come.
    await pipeline(
      (await api.download(runId, id)).pipeThrough(new TransformStream<Uint8Array, Uint8Array>(), {
        ...(signal && { signal }),
      }),
      async function* (chunks: AsyncIterable<Uint8Array>) {
        for await (const chunk of chunks) {
          hash.update(chunk);
          yield chunk;
        }
      },
      part.createWriteStream(),
    );
    if (hash.digest('hex') !== sha256) throw new Error(`${name} arrived damaged: its sha256 is not ${sha256}`);
    await rename(`${target}.part`, target);
  } finally {
    await part.close();
    await rm(`${target}.part`, { force: true });
  }
  return target;
}
