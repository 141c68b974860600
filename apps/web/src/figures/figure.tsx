/** A figure drawn by Observable Plot, to be had as SVG, PNG and CSV. */
import * as Plot from '@observablehq/plot';
import { useEffect, useEffectEvent, useRef, useState } from 'react';
import { RangeFields, type Range } from '../charts/range-fields.js';
import { themeColour, useTheme } from '../ui/colours.js';
import { Dropdown } from '../ui/controls.js';
import { fullHeight, useFullScreen } from '../ui/full-screen.js';
import { Panel } from '../ui/panel.js';
import { FileButtons } from './files.js';

type Cells = (string | number | null | undefined)[][];

interface FigureProps {
  title: string;
  /** Name of the files, without ending. */
  name: string;
  caption?: React.ReactNode;
  /** In words, for those who don't see it. */
  description: string;
  /** Drawn again when it changes. */
  data: unknown;
  /** What of it has values, whose ends can be asked for. */
  axis: 'x' | 'y' | 'color';
  draw: (width: number, ink: Ink) => Plot.PlotOptions;
  /** What can be chosen of it. */
  controls?: React.ReactNode;
  /** Called with what was drawn. */
  onDrawn?: (drawn: ReturnType<typeof Plot.plot>) => void;
  rows: () => Cells;
}
interface Ink {
  ink: string;
  dim: string;
  paper: string;
}

export function Figure({ title, name, caption, description, data, axis, draw, controls, onDrawn, rows }: FigureProps) {
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  const [range, setRange] = useState<Range>({});
  const [figure, full, showFull] = useFullScreen();
  const theme = useTheme();
  const key = JSON.stringify(data);
  useEffect(() => {
    const resize = new ResizeObserver(([entry]) => setWidth(Math.round(entry!.contentRect.width)));
    resize.observe(box.current!);
    return () => resize.disconnect();
  }, []);
  const redraw = useEffectEvent(() => {
    if (width === 0) return;
    const ink = { ink: themeColour('ink'), dim: themeColour('dim'), paper: themeColour('panel') };
    const options = { ...draw(width, ink), width, ...(full && { height: fullHeight() }) };
    const drawn = limited(options, axis, range, ink.ink);
    drawn.setAttribute('aria-hidden', 'true');
    for (const each of drawn.querySelectorAll('a')) forPointer(each);
    drawn.addEventListener('click', (event) => follow(drawn, event as MouseEvent));
    onDrawn?.(drawn);
    box.current!.replaceChildren(drawn);
  });
  useEffect(() => {
    redraw();
  }, [key, width, theme, range, full]);
  return (
    <Panel
      title={title}
      aside={
        <span className="actions">
          <FileButtons title={title} files={{ name, drawn: () => box.current!.querySelector('svg')!, rows }} />
          <Dropdown title={<span aria-hidden="true">⋯</span>} label={`Axis and size of ${title}`} name={title}>
            <RangeFields range={range} onRange={setRange} />
            <button className="quiet" onClick={showFull}>
              Full screen
            </button>
          </Dropdown>
        </span>
      }
    >
      <figure ref={figure} className="whole">
        {caption && <p className="dim">{caption}</p>}
        {controls && <div className="controls">{controls}</div>}
        <div ref={box} className="figure" role="img" aria-label={description} />
      </figure>
    </Panel>
  );
}

/**
 * A link of a drawing as something that can be clicked: a drawing is one image for those who don't see it, in which
 * nothing may be focused, and where its links lead is listed in words beside it.
 */
function forPointer(link: Element): void {
  const href = link.getAttribute('href') ?? link.getAttribute('xlink:href') ?? '';
  for (const name of ['href', 'xlink:href']) link.removeAttribute(name);
  link.classList.add('leads');
  (link as SVGElement).dataset['href'] = href;
}

/** Goes where the link under the pointer leads, whatever a tip that came up with the press lies over it. */
function follow(drawn: Element, { clientX, clientY }: MouseEvent): void {
  const link = document
    .elementsFromPoint(clientX, clientY)
    .map((each) => drawn.contains(each) && each.closest<SVGElement>('.leads'))
    .find(Boolean);
  if (link) location.hash = link.dataset['href']!;
}

/** Draws a figure whose values begin and end where it was asked for; what lies beyond is cut. */
function limited(
  options: Plot.PlotOptions,
  axis: 'x' | 'y' | 'color',
  { low, high }: Range,
  ink: string,
): ReturnType<typeof Plot.plot> {
  const style = {
    color: ink,
    background: 'transparent',
    fontSize: '12px',
    fontFamily: 'system-ui, sans-serif',
    overflow: 'visible',
  };
  const drawn = Plot.plot({ ...options, style });
  if (low === undefined && high === undefined) return drawn;
  const [from, to] = (drawn.scale(axis)?.domain ?? []) as number[];
  const domain = [low ?? from, high ?? to];
  // Ends that leave nothing between them are still being typed.
  if (!(domain[0]! < domain[1]!)) return drawn;
  return Plot.plot({ ...options, style, clip: true, [axis]: { ...options[axis], domain, clamp: axis === 'color' } });
}
