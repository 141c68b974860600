/** Answers too long to be made in one piece. */
import { StreamableFile } from '@nestjs/common';
import { Readable } from 'node:stream';

/**
 * `{"items": […]}` of items that are JSON text already, sent as they come. The first is waited for: what fails before
 * it is told as any error is; what fails later breaks the answer off.
 */
export async function itemsAsJson(items: AsyncIterator<string>): Promise<StreamableFile> {
  const first = await items.next();
  async function* text() {
    yield '{"items":[';
    for (let next = first, many = false; !next.done; next = await items.next(), many = true)
      yield many ? `,${next.value}` : next.value;
    yield ']}';
  }
  return new StreamableFile(Readable.from(text(), { objectMode: false }), { type: 'application/json; charset=utf-8' });
}
