/** Answers too long to be made in one piece. */
import { piecesInTurns } from '#libs/platform';
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

/** Items of a list that are written with the rest. */
const FEW = 200;

const isLong = (value: unknown): value is unknown[] => Array.isArray(value) && value.length > FEW;
const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;

/** JSON of a value, of long lists in it item by item. */
function* jsonTexts(value: unknown): Generator<string> {
  if (isLong(value)) {
    yield '[';
    for (const [i, item] of value.entries()) yield (i ? ',' : '') + (JSON.stringify(item) ?? 'null');
    yield ']';
  } else if (isRecord(value)) {
    const fields = Object.entries(value).filter(([, field]) => field !== undefined);
    for (const [i, [name, field]] of fields.entries()) {
      yield `${i ? ',' : '{'}${JSON.stringify(name)}:`;
      yield* jsonTexts(field);
    }
    yield fields.length ? '}' : '{}';
  } else yield JSON.stringify(value);
}

/** The same answer; one with a long list in it, or in a field of a field, as JSON that is made in turns. */
export function inPieces(answer: Record<string, unknown>): Record<string, unknown> | StreamableFile {
  const fields = Object.values(answer);
  if (!fields.some((field) => isLong(field) || (isRecord(field) && Object.values(field).some(isLong)))) return answer;
  const text = piecesInTurns(jsonTexts(answer));
  return new StreamableFile(Readable.from(text, { objectMode: false }), { type: 'application/json; charset=utf-8' });
}
