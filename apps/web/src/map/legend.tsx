/** The legend of a map's colours, from which one class alone, or the wrong predictions, can be shown. */
import { colourOf } from '../ui/colours.js';
import type { Colour, Latent } from './latent-run.js';
import { isWrong, kindsOf, RIGHT_COLOUR, WRONG_COLOUR } from './point-colours.js';

type File = Latent['file'];

const pointsWhere = (file: File, holds: (point: number) => boolean): number[] =>
  file.rows.flatMap((_, i) => (holds(i) ? [i] : []));

export const mistakesOf = (file: File): number[] => pointsWhere(file, (i) => isWrong(file, i));

interface Props {
  file: File;
  colour: Colour;
  /** The class that is shown alone. */
  only: number | undefined;
  onOnly: (only: number | undefined) => void;
  onList: (points: number[]) => void;
}

export function Legend({ file, colour, only, onOnly, onList }: Props) {
  const kinds = kindsOf(file, colour);
  if (colour === 'error') return <Errors file={file} onList={onList} />;
  if (!kinds) return null;
  return (
    <div className="chips" role="group" aria-label="Classes">
      {file.classes.map((name, i) => (
        <button
          key={name}
          className="chip"
          aria-pressed={only === i}
          onClick={() => onOnly(only === i ? undefined : i)}
        >
          <i style={{ background: colourOf(i) }} />
          {name}
        </button>
      ))}
      {only !== undefined && (
        <button className="quiet" onClick={() => onList(pointsWhere(file, (i) => kinds[i] === only))}>
          List this class
        </button>
      )}
    </div>
  );
}

function Errors({ file, onList }: Pick<Props, 'file' | 'onList'>) {
  const mistakes = mistakesOf(file);
  return (
    <div className="legends">
      <span className="legend">
        <i style={{ background: WRONG_COLOUR }} />
        wrong
      </span>
      <span className="legend">
        <i style={{ background: RIGHT_COLOUR }} />
        right
      </span>
      {mistakes.length > 0 && (
        <button className="quiet" onClick={() => onList(mistakes)}>
          List what is wrong
        </button>
      )}
    </div>
  );
}

/** Says what predicted the samples' classes, and how many were predicted wrong. */
export function Judgement({ file, colour }: Pick<Props, 'file' | 'colour'>) {
  if (!file.predictions || colour === 'class') return null;
  return (
    <p className="dim">
      {file.predictedBy === 'classifier'
        ? 'What the run’s own classifier says of each sample'
        : 'What most of the nearest others in the space are'}
      {colour === 'error' && (
        <>
          : <b>{mistakesOf(file).length.toLocaleString('en')}</b> of {file.rows.length.toLocaleString('en')} are taken
          for another class than theirs
        </>
      )}
      .
    </p>
  );
}
