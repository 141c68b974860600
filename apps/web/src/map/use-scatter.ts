import { useEffect, useEffectEvent, useRef } from 'react';
import type { Latent } from './latent-run.js';
import { onTheWay } from './latent.js';
import { Scatter } from './scatter.js';

/** Milliseconds that points take from one checkpoint to the next. */
const MOVE_MS = 450;

type Points = ReturnType<typeof onTheWay>;
type Options = ConstructorParameters<typeof Scatter>[1];

/**
 * A scatter plot in `box`, kept as the points and colours are. Points move to their new places where only the
 * checkpoint changed; of another frame or map they are there at once, seen whole.
 */
export function useScatter(
  points: Points,
  colours: Options['colours'],
  frame: Latent,
  map: string,
  lines: Float32Array | undefined,
  { onHover, onPick }: Pick<Options, 'onHover' | 'onPick'>,
) {
  const box = useRef<HTMLDivElement>(null);
  const scatter = useRef<Scatter>(undefined);
  const pick = useEffectEvent(onPick);
  const hover = useEffectEvent(onHover);
  const begin = useEffectEvent(() => ({ points, colours }));
  useEffect(() => {
    const created = (scatter.current = new Scatter(box.current!, {
      ...begin(),
      onHover: (point, x, y) => hover(point, x, y),
      onPick: (point) => pick(point),
    }));
    return () => {
      created.destroy();
      scatter.current = undefined;
    };
  }, []);
  useEffect(() => scatter.current?.update({ colours }), [colours]);
  useEffect(() => scatter.current?.update({ lines }), [lines]);
  const before = useRef({ points, frame, map });
  useEffect(() => {
    const { points: from, frame: window, map: was } = before.current;
    before.current = { points, frame, map };
    if (from === points) return;
    const another = window !== frame || was !== map;
    if (another || from.length !== points.length || matchMedia('(prefers-reduced-motion: reduce)').matches) {
      scatter.current?.update({ points });
      if (another) scatter.current?.fit();
      return;
    }
    return moved(from, points, (next) => scatter.current?.update({ points: next }));
  }, [points, frame, map]);
  return { box, scatter };
}

/** Shows points on their way, so that the eye can follow each. Returns what ends the way early, at its end. */
function moved(from: Points, to: Points, show: (points: Points) => void): () => void {
  let timer = 0;
  const started = performance.now();
  const move = (now: number) => {
    const part = Math.min(1, Math.max(0, (now - started) / MOVE_MS));
    show(part === 1 ? to : onTheWay(from, to, part * part * (3 - 2 * part)));
    if (part < 1) timer = requestAnimationFrame(move);
  };
  timer = requestAnimationFrame(move);
  return () => {
    cancelAnimationFrame(timer);
    show(to);
  };
}
