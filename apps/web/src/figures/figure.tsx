/** A figure drawn by Observable Plot, to be had as SVG, PNG and CSV. */
import * as Plot from '@observablehq/plot';
import { useEffect, useEffectEvent, useRef, useState } from 'react';
import { themeColour, useTheme } from '../ui/colours.js';
import { save } from '../ui/hand-out.js';
import { Panel } from '../ui/panel.js';
import { csv } from './csv.js';
import { savePng, saveSvg } from './picture.js';

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
  draw: (width: number, ink: { ink: string; dim: string; paper: string }) => Plot.PlotOptions;
  rows: () => Cells;
}

export function Figure({ title, name, caption, description, data, draw, rows }: FigureProps) {
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
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
    const drawn = Plot.plot({
      ...draw(width, ink),
      width,
      style: {
        color: ink.ink,
        background: 'transparent',
        fontSize: '12px',
        fontFamily: 'system-ui, sans-serif',
        overflow: 'visible',
      },
    });
    drawn.setAttribute('aria-hidden', 'true');
    box.current!.replaceChildren(drawn);
  });
  useEffect(() => {
    redraw();
  }, [key, width, theme]);
  const svg = () => box.current!.querySelector('svg')!;
  return (
    <Panel
      title={title}
      aside={
        <span className="actions">
          <button className="quiet" onClick={() => saveSvg(name, svg())} aria-label={`${title} as SVG`}>
            SVG
          </button>
          <button className="quiet" onClick={() => void savePng(name, svg())} aria-label={`${title} as PNG`}>
            PNG
          </button>
          <button
            className="quiet"
            onClick={() => save(`${name}.csv`, csv(rows()), 'text/csv')}
            aria-label={`${title} as CSV`}
          >
            CSV
          </button>
        </span>
      }
    >
      {caption && <p className="dim">{caption}</p>}
      <div ref={box} className="figure" role="img" aria-label={description} />
    </Panel>
  );
}
