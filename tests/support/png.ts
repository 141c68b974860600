/** PNG files byte by byte: what encoders would not write. */
import { crc32, deflateSync } from 'node:zlib';

/** A PNG whose values are these, gray or places of a palette, of `depth` bits, `significant` by what it says. */
export function pngOf(
  values: readonly (readonly number[])[],
  { depth = 8, palette, significant }: { depth?: 1 | 2 | 4 | 8 | 16; palette?: number[]; significant?: number } = {},
): Buffer {
  const chunk = (type: string, body: Buffer) => {
    const named = Buffer.concat([Buffer.from(type, 'latin1'), body]);
    const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(body.length);
    sum.writeUInt32BE(crc32(named));
    return Buffer.concat([length, named, sum]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(values[0]!.length, 0);
  header.writeUInt32BE(values.length, 4);
  header.set([depth, palette ? 3 : 0], 8);
  const rows = values.map((row) => {
    const packed = Buffer.alloc(1 + Math.ceil((row.length * depth) / 8));
    row.forEach((value, x) => {
      if (depth === 16) packed.writeUInt16BE(value, 1 + 2 * x);
      else packed[1 + ((x * depth) >> 3)]! |= value << (8 - depth - ((x * depth) & 7));
    });
    return packed;
  });
  return Buffer.concat([
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    chunk('IHDR', header),
    chunk('gAMA', Buffer.from([0, 1, 0x86, 0xa0])),
    ...(significant === undefined ? [] : [chunk('sBIT', Buffer.of(significant))]),
    ...(palette ? [chunk('PLTE', Buffer.from(palette)), chunk('tRNS', Buffer.of(0))] : []),
    chunk('IDAT', deflateSync(Buffer.concat(rows))),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}
