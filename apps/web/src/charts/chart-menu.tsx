/** What can be done with one chart: its axis y, all of the screen for it, and files of it. */
import { FullAndFiles, type Files } from '../figures/files.js';
import { Dropdown } from '../ui/controls.js';
import { RangeFields, type Range } from './range-fields.js';

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
  files: Files;
  onRange: (range: Range) => void;
  onLog: (log: boolean) => void;
  onFull: () => void;
}) {
  return (
    <Dropdown title={<span aria-hidden="true">⋯</span>} label={`Axes and files of ${title}`} name={`Chart ${title}`}>
      <RangeFields range={range} onRange={onRange} />
      <label>
        <input type="checkbox" checked={log} onChange={({ target }) => onLog(target.checked)} /> Log scale
      </label>
      <FullAndFiles title={title} files={files} onFull={onFull} />
    </Dropdown>
  );
}
