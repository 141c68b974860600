/** The bytes of a file of the store over HTTP: whole, or a range of them (RFC 9110). */
import type { ArtifactStore } from '#libs/platform';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Readable } from 'node:stream';

interface StoredArtifact {
  id: string;
  name: string;
  mime: string;
  sha256: string;
  sizeBytes: number;
}

/** Whether an If-None-Match names this entity tag: one, a list, weak or strong, or any. */
export const matches = (known: string | undefined, etag: string): boolean =>
  known?.split(',').some((each) => ['*', etag].includes(each.trim().replace(/^W\//, ''))) ?? false;

/**
 * Answers with an artifact. The bytes of a whole file are compared with its sha256 while they are sent: where it was
 * changed on disk, the connection breaks before the last of them, so that nobody takes them for genuine. A range is
 * sent as it is, and bears a digest only where this process has read the whole file.
 */
export async function sendArtifact(
  { headers }: FastifyRequest,
  reply: FastifyReply,
  store: ArtifactStore,
  { id, name, mime, sha256, sizeBytes }: StoredArtifact,
): Promise<void> {
  const size = await store.size(sha256);
  if (size !== sizeBytes)
    throw new Error(`artifact ${id} has ${size ?? 'no'} bytes in the store, expected ${sizeBytes}`);
  const etag = `"${sha256}"`;
  const digest = `sha-256=:${Buffer.from(sha256, 'hex').toString('base64')}:`;
  void reply.headers({
    etag,
    'content-type': mime,
    'accept-ranges': 'bytes',
    'cache-control': 'private, max-age=31536000, immutable',
    'content-disposition': `${mime === 'image/png' ? 'inline' : 'attachment'}; filename="${name.replace(/[^A-Za-z0-9._-]/g, '_')}"`,
  });
  if (matches(headers['if-none-match'], etag)) return void reply.status(304).send();
  const asked = headers['if-range'] === undefined || headers['if-range'] === etag ? headers.range : undefined;
  const range = /^bytes=(\d{1,15})-(\d{0,15})$/.exec(asked ?? '');
  if (!range) {
    void reply.headers({ 'content-length': size, 'content-digest': digest, 'repr-digest': digest });
    return void reply.send(Readable.from(store.checked(sha256), { objectMode: false }));
  }
  const start = Number(range[1]);
  const end = Math.min(size - 1, range[2] ? Number(range[2]) : size - 1);
  if (start > end) return void reply.status(416).header('content-range', `bytes */${size}`).send();
  if (await store.isKnownWhole(sha256)) void reply.header('repr-digest', digest);
  void reply
    .status(206)
    .headers({ 'content-range': `bytes ${start}-${end}/${size}`, 'content-length': end - start + 1 })
    .send(store.open(sha256, { start, end }));
}
