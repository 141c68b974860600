import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { SubmissionFile } from './document.js';
import { textGiven } from './given-text.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'loom-given-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const given = async (bytes: Buffer): Promise<string> => {
  const file = path.join(folder, 'f.yaml');
  await writeFile(file, bytes);
  return file;
};

test('a file is read in UTF-8 with a mark or without, and in UTF-16 with one', async () => {
  const text = '# Größe\r\nkind: pretrain\r\ndataset: x\r\n';
  const wide = Buffer.from(`\ufeff${text}`, 'utf16le');
  for (const bytes of [Buffer.from(text), Buffer.from(`\ufeff${text}`), wide, Buffer.from(wide).swap16()]) {
    expect(await textGiven(await given(bytes))).toBe(text);
    expect((await SubmissionFile.read(await given(bytes))).submission.type).toBe('run');
  }
});

test('bytes that are no text are refused: letters would be lost', async () => {
  const latin = Buffer.from('kind: pretrain\ndataset: x\ntags: [Größe]\n', 'latin1');
  await expect(SubmissionFile.read(await given(latin))).rejects.toThrow(/f\.yaml: expected text in UTF-8, .*iconv/);
  await expect(textGiven(path.join(folder, 'absent.yaml'))).rejects.toThrow(/absent\.yaml: it does not exist/);
});
