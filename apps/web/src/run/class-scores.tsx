import { useRef } from 'react';
import { useWhole } from '../figures/files.js';
import { Table } from '../ui/panel.js';

/** `classification.json`, as libs/training writes it. */
export interface ClassReport {
  split: string;
  accuracy: number;
  /** Absent where there are five classes or fewer. */
  top5?: number;
  classes: { name: string; samples: number; predicted: number; accuracy: number | null }[];
  /** How often samples of each class (rows) were taken for each (columns); absent of very many classes. */
  confusion?: number[][];
}

/** Classes of which the matrix is drawn: of more its cells could not be told apart. */
const MOST_DRAWN = 50;
/** Edge of a cell, in pixels. */
const CELL = 12;

const percent = (value: number | null): string => (value === null ? '–' : `${(100 * value).toFixed(1)} %`);

/** How well each class is found, the worst first, and what is taken for what. */
export function ClassScores({ split, accuracy, top5, classes, confusion }: ClassReport) {
  const sorted = classes.toSorted((a, b) => (a.accuracy ?? 2) - (b.accuracy ?? 2));
  return (
    <>
      <dl className="numbers">
        <div>
          <dt>top-1 in the {split} split</dt>
          <dd>{percent(accuracy)}</dd>
        </div>
        {top5 !== undefined && (
          <div>
            <dt>top-5</dt>
            <dd>{percent(top5)}</dd>
          </div>
        )}
      </dl>
      <Table
        caption={`Classes in the ${split} split`}
        empty="No classes."
        keys={sorted.map(({ name }) => name)}
        head={['class', 'samples', 'taken for it', 'accuracy']}
        rows={sorted.map(({ name, samples, predicted, accuracy: found }) => [
          name,
          samples.toLocaleString('en'),
          predicted.toLocaleString('en'),
          percent(found),
        ])}
      />
      {confusion && classes.length <= MOST_DRAWN && (
        <Confusion names={classes.map(({ name }) => name)} confusion={confusion} />
      )}
    </>
  );
}

/** A cell for each two classes, the fuller the more of the row's samples were taken for the column. */
function Confusion({ names, confusion }: { names: readonly string[]; confusion: readonly (readonly number[])[] }) {
  const edge = names.length * CELL;
  const drawn = useRef<SVGSVGElement>(null);
  const { element, menu } = useWhole('What is taken for what', {
    name: 'confusion',
    drawn: () => drawn.current!,
    rows: () => [['class', ...names], ...confusion.map((row, of) => [names[of], ...row])],
  });
  return (
    <figure ref={element} className="whole">
      {menu}
      <svg
        ref={drawn}
        role="img"
        aria-label="What is taken for what: a row for each class, a column for what it was taken for"
        viewBox={`0 0 ${edge} ${edge}`}
        style={{ width: '100%', maxWidth: Math.max(160, 2 * edge), border: '1px solid var(--line)' }}
      >
        {confusion.flatMap((row, of) => {
          const samples = row.reduce((sum, count) => sum + count, 0);
          return row.map((count, as) => (
            <rect
              key={`${of}-${as}`}
              x={as * CELL}
              y={of * CELL}
              width={CELL}
              height={CELL}
              fill={of === as ? 'var(--good)' : 'var(--bad)'}
              fillOpacity={samples > 0 ? count / samples : 0}
            >
              <title>{`${names[of]!} taken for ${names[as]!}: ${count} of ${samples}`}</title>
            </rect>
          ));
        })}
      </svg>
      <figcaption>Rows: what a sample is. Columns: what it was taken for, in the order of the classes.</figcaption>
    </figure>
  );
}
