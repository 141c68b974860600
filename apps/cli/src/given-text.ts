/** Texts that the user gives in a file or on standard input. */
import { readFile } from 'node:fs/promises';
import { buffer } from 'node:stream/consumers';
import { UsageError } from './usage-error.js';

/** By the mark at the beginning of a text, as shells of Windows write it. */
const WIDE: Readonly<Record<string, string>> = { fffe: 'utf-16le', feff: 'utf-16be' };

/**
 * A text in UTF-8, or in UTF-16 with a mark at its beginning. `file` is `-` for standard input.
 * @throws UsageError for a file that can't be read, and for bytes that are no such text: a letter would become another
 */
export async function textGiven(file: string): Promise<string> {
  const bytes = await bytesGiven(file);
  try {
    return new TextDecoder(WIDE[bytes.toString('hex', 0, 2)] ?? 'utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new UsageError(
      `${file === '-' ? 'stdin' : file}: expected text in UTF-8, got bytes that are none: write it so (iconv -t utf-8)`,
    );
  }
}

async function bytesGiven(file: string): Promise<Buffer> {
  if (file === '-') return buffer(process.stdin);
  return readFile(file).catch((error: NodeJS.ErrnoException) => {
    throw new UsageError(
      `expected a file that can be read, got ${file}: ` +
        (error.code === 'ENOENT' ? 'it does not exist' : error.message),
    );
  });
}
