/** Features of samples as tables for other programs: NumPy and Parquet. */
import { NpyWriter } from '#libs/data';
import { fileWriter, ParquetWriter, type SchemaElement } from 'hyparquet-writer';
import type { Pause } from '../evaluation.js';
import type { Points } from '../manifold/points.js';
import type { Maps } from './maps.js';

const ROWS_AT_ONCE = 2048;

export async function writeNpy(file: string, { values, width }: Points, pause: Pause): Promise<void> {
  const writer = await NpyWriter.create(file, '<f4', [width]);
  try {
    for (let start = 0; start < values.length; start += ROWS_AT_ONCE * width) {
      await pause();
      await writer.append(Float32Array.from(values.subarray(start, start + ROWS_AT_ONCE * width)));
    }
  } finally {
    await writer.close();
  }
}

/**
 * Columns row, label (where there are classes), prediction (where there is one), x and y of each map, and the features
 * as a list.
 */
export async function writeParquet(
  file: string,
  { values, width }: Points,
  rows: Int32Array,
  labels: Int32Array | undefined,
  predictions: Int32Array | null,
  classes: readonly string[],
  maps: Maps,
  pause: Pause,
): Promise<void> {
  const axes = [...maps].flatMap(([name, { coordinates }]) =>
    (['x', 'y'] as const).map((axis, offset) => ({ name: `${name}_${axis}`, coordinates, offset })),
  );
  const required = { repetition_type: 'REQUIRED' } as const;
  const named = Object.entries({ label: labels, prediction: predictions }).flatMap(([name, places]) =>
    places ? [{ name, places }] : [],
  );
  const columns: SchemaElement[] = [
    { name: 'row', type: 'INT32', ...required },
    ...named.map(({ name }) => ({ name, type: 'BYTE_ARRAY', converted_type: 'UTF8', ...required }) as const),
    ...axes.map(({ name }) => ({ name, type: 'FLOAT', ...required }) as const),
  ];
  const writer = new ParquetWriter({
    writer: fileWriter(file),
    schema: [
      { name: 'root', num_children: columns.length + 1 },
      ...columns,
      { name: 'embedding', converted_type: 'LIST', num_children: 1, ...required },
      { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
      { name: 'element', type: 'FLOAT', ...required },
    ],
  });
  for (let start = 0; start < rows.length; start += ROWS_AT_ONCE) {
    await pause();
    const places = Array.from({ length: Math.min(ROWS_AT_ONCE, rows.length - start) }, (_, i) => start + i);
    await writer.write({
      columnData: [
        { name: 'row', data: places.map((place) => rows[place]!) },
        ...named.map(({ name, places: some }) => ({ name, data: places.map((place) => classes[some[place]!]!) })),
        ...axes.map(({ name, coordinates, offset }) => ({
          name,
          data: places.map((place) => coordinates[2 * place + offset]!),
        })),
        // Floats neither repeat nor compress.
        {
          name: 'embedding',
          data: places.map((place) => Array.from(values.subarray(place * width, (place + 1) * width))),
          encoding: 'PLAIN',
          codec: 'UNCOMPRESSED',
        },
      ],
      rowGroupSize: ROWS_AT_ONCE,
    });
  }
  await writer.finish();
}
