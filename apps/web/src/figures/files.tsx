/** Files of what is drawn, and all of the screen for it: the same for every figure, map, picture and sound. */
import { Dropdown } from '../ui/controls.js';
import { useFullScreen } from '../ui/full-screen.js';
import { save } from '../ui/hand-out.js';
import { csv } from './csv.js';

export interface Files {
  /** Of the files, without ending. */
  name: string;
  /** What is drawn, as lines and shapes or as pixels. Made when it is asked for. */
  drawn: () => Drawn | Promise<Drawn>;
  /** Pixels of their own for the PNG, where shapes are too many to be drawn as such. */
  pixels?: () => HTMLCanvasElement;
  rows?: () => (string | number | null | undefined)[][];
}
export type Drawn = SVGElement | HTMLCanvasElement;

const pictures = () => import('./picture.js');

async function saveDrawn({ name, drawn, pixels }: Files, kind: 'SVG' | 'PNG'): Promise<void> {
  const { saveCanvas, savePng, saveSvg, svgOf } = await pictures();
  const what = kind === 'PNG' && pixels ? pixels() : await drawn();
  if (kind === 'SVG') saveSvg(name, what instanceof HTMLCanvasElement ? svgOf(what) : what);
  else if (what instanceof HTMLCanvasElement) await saveCanvas(name, what);
  else await savePng(name, what);
}

/** A button for each kind of file that there is of what is called `title`. */
export function FileButtons({ title, files }: { title: string; files: Files }) {
  const { name, rows } = files;
  return (
    <>
      {(['SVG', 'PNG'] as const).map((kind) => (
        <button
          key={kind}
          className="quiet"
          onClick={() => void saveDrawn(files, kind)}
          aria-label={`${title} as ${kind}`}
        >
          {kind}
        </button>
      ))}
      {rows && (
        <button
          className="quiet"
          onClick={() => save(`${name}.csv`, csv(rows()), 'text/csv')}
          aria-label={`${title} as CSV`}
        >
          CSV
        </button>
      )}
    </>
  );
}

/** What every menu of something drawn ends with. */
export const FullAndFiles = ({ title, files, onFull }: { title: string; files: Files; onFull: () => void }) => (
  <>
    <button className="quiet" onClick={onFull}>
      Full screen
    </button>
    <span className="actions">
      <FileButtons title={title} files={files} />
    </span>
  </>
);

/** Where a name of a figure has what file names can't have. */
export const fileName = (title: string): string => title.replaceAll(/[^\w.-]+/g, '-');

/**
 * A menu for what is drawn in `element`: the full screen, and files. `full`: whether it has all of the screen, in which
 * it may be drawn larger.
 */
export function useWhole(title: string, files: Files) {
  const [element, full, showFull] = useFullScreen();
  const menu = (
    <Dropdown title={<span aria-hidden="true">⋯</span>} label={`Size and files of ${title}`} name={title}>
      <FullAndFiles title={title} files={files} onFull={showFull} />
    </Dropdown>
  );
  return { element, full, menu };
}
