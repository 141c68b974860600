/** The colour of each point of a map: by class, by what it was taken for, or by whether that is right. Pure. */
import { colourOf } from '../ui/colours.js';
import type { Colour } from './latent-run.js';
import type { MapsFile } from './latent.js';

type Rgb = readonly [number, number, number];

export const WRONG_COLOUR = '#d6455d';
export const RIGHT_COLOUR = '#7a8694';

const rgb = (hex: string): Rgb =>
  [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)) as [number, number, number];

const [RIGHT, WRONG, CHOSEN] = [rgb(RIGHT_COLOUR), rgb(WRONG_COLOUR), [255, 140, 0, 255]] as const;

/** Opacities of points, from 0 to 255. */
const OPACITY = { usual: 205, right: 90, faded: 28 };

/** What each point is shown as: its class, or what it is taken for. */
export const kindsOf = (file: MapsFile, colour: Colour) => (colour === 'prediction' ? file.predictions : file.labels);

export const isWrong = (file: MapsFile, point: number): boolean => file.predictions?.[point] !== file.labels?.[point];

export interface Emphasis {
  /** Selected points; the others are faded where there are any. */
  selected: readonly number[];
  marked: readonly number[];
  /** The only class that is not faded. */
  only: number | undefined;
}

/** Colours of all points, RGBA [4N]. */
export function pointColours(file: MapsFile, colour: Colour, emphasis: Emphasis): Uint8Array {
  const { only } = emphasis;
  const [selected, marked] = [new Set(emphasis.selected), new Set(emphasis.marked)];
  const kinds = kindsOf(file, colour);
  const table = file.classes.map((_, i) => rgb(colourOf(i)));
  const unknown = table[0] ?? rgb(colourOf(0));
  const hueOf = (i: number): Rgb => {
    if (colour === 'error') return isWrong(file, i) ? WRONG : RIGHT;
    const kind = kinds?.[i];
    return kind === undefined ? unknown : table[kind]!;
  };
  const opacityOf = (i: number): number => {
    if ((selected.size > 0 && !selected.has(i)) || (only !== undefined && kinds?.[i] !== only)) return OPACITY.faded;
    return colour === 'error' && !isWrong(file, i) ? OPACITY.right : OPACITY.usual;
  };
  const all = new Uint8Array(4 * file.rows.length);
  for (let i = 0; i < file.rows.length; i++) all.set(marked.has(i) ? CHOSEN : [...hueOf(i), opacityOf(i)], 4 * i);
  return all;
}
