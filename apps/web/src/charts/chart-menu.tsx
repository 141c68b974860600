/** What can be done with one chart: its axis y, all of the screen for it, and files of it. */
import { csv } from '../figures/csv.js';
import { Dropdown } from '../ui/controls.js';
import { save } from '../ui/hand-out.js';
import { RangeFields, type Range } from './range-fields.js';

export interface ChartFiles {
  rows: () => (string | number | null)[][];
  /** Drawn when it is asked for. */
  figure: () => Promise<SVGElement>;
}

export function ChartMenu({
  title,
  range,
  log,
  files,
  onRange,
  onLog,
  onFull,
}: {
  title: string;
  range: Range;
  log: boolean;
  files: ChartFiles;
  onRange: (range: Range) => void;
  onLog: (log: boolean) => void;
  onFull: () => void;
}) {
  const name = title.replaceAll(/[^\w.-]+/g, '-');
  const draw = async (save: (name: string, svg: SVGElement) => unknown) => save(name, await files.figure());
  const pictures = () => import('../figures/picture.js');
  return (
    <Dropdown title={<span aria-hidden="true">⋯</span>} label={`Axes and files of ${title}`} name={`Chart ${title}`}>
      <RangeFields range={range} onRange={onRange} />
      <label>
        <input type="checkbox" checked={log} onChange={({ target }) => onLog(target.checked)} /> Log scale
      </label>
      <button className="quiet" onClick={onFull}>
        Full screen
      </button>
      <span className="actions">
        <button className="quiet" onClick={() => void pictures().then(({ saveSvg }) => draw(saveSvg))}>
          SVG
        </button>
        <button className="quiet" onClick={() => void pictures().then(({ savePng }) => draw(savePng))}>
          PNG
        </button>
        <button className="quiet" onClick={() => save(`${name}.csv`, csv(files.rows()), 'text/csv')}>
          CSV
        </button>
      </span>
    </Dropdown>
  );
}
