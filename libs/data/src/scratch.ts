import { open, rm, type FileHandle } from 'node:fs/promises';
import type { NpyType } from './npy.js';
import { readFully, writeFully } from './positioned-io.js';

/** A file of items of one type and shape, each at its own place, written in any order. */
export class Scratch {
  private readonly itemBytes: number;

  private constructor(
    private readonly path: string,
    private readonly file: FileHandle,
    readonly type: '|u1' | '<i2',
    readonly itemShape: readonly number[],
  ) {
    this.itemBytes = itemShape.reduce((product, side) => product * side, type === '|u1' ? 1 : 2);
  }

  static async create(
    path: string,
    type: Extract<NpyType, '|u1' | '<i2'>,
    itemShape: readonly number[],
  ): Promise<Scratch> {
    return new Scratch(path, await open(path, 'w+'), type, itemShape);
  }

  /** `data`: the item's bytes */
  async write(index: number, data: Uint8Array): Promise<void> {
    if (data.length !== this.itemBytes)
      throw new RangeError(`expected items of ${this.itemBytes} bytes, got ${data.length}`);
    await writeFully(this.file, [data], index * this.itemBytes);
  }

  async read(index: number): Promise<Uint8Array<ArrayBuffer> | Int16Array<ArrayBuffer>> {
    const bytes = new Uint8Array(this.itemBytes);
    await readFully(this.file, bytes, index * this.itemBytes);
    return this.type === '<i2' ? new Int16Array(bytes.buffer) : bytes;
  }

  async remove(): Promise<void> {
    await this.file.close();
    await rm(this.path, { force: true });
  }
}
