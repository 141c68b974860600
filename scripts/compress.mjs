/** Text of the dashboard beside itself as Brotli and gzip, as small as they get: it is sent often, and built once. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import zlib from 'node:zlib';

const brotli = promisify(zlib.brotliCompress);
const gzip = promisify(zlib.gzip);

const TEXT = /\.(js|css|html|svg|json|txt|map|webmanifest)$/;
/** Smaller files fit in a packet or two anyway. */
const LEAST_BYTES = 1024;

/** Compresses the files below a folder, where that makes them smaller. */
export async function compressFiles(folder) {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile() && TEXT.test(entry.name));
  await Promise.all(
    files.map(async (entry) => {
      const file = path.join(entry.parentPath, entry.name);
      const bytes = await readFile(file);
      if (bytes.length < LEAST_BYTES) return;
      const params = {
        [zlib.constants.BROTLI_PARAM_QUALITY]: zlib.constants.BROTLI_MAX_QUALITY,
        [zlib.constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
      };
      for (const [ending, packed] of [
        ['br', await brotli(bytes, { params })],
        ['gz', await gzip(bytes, { level: zlib.constants.Z_BEST_COMPRESSION })],
      ])
        if (packed.length < bytes.length) await writeFile(`${file}.${ending}`, packed);
    }),
  );
}
