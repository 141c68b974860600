import { useState, type PointerEvent } from 'react';

type Point = [number, number];

/** The pixel of the surface that the pointer is at. */
function pointOf({ currentTarget, clientX, clientY }: PointerEvent): Point {
  const { left, top } = currentTarget.getBoundingClientRect();
  return [clientX - left, clientY - top];
}

/** A surface over a map on which a polygon is drawn with the pointer. `onDrawn` is told its corners, in pixels. */
export function Lasso({ onDrawn }: { onDrawn: (corners: readonly Point[]) => void }) {
  const [trace, setTrace] = useState<Point[]>([]);
  return (
    <svg
      className="lasso"
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId);
        setTrace([pointOf(event)]);
      }}
      onPointerMove={(event) => {
        if (trace.length) setTrace([...trace, pointOf(event)]);
      }}
      onPointerUp={() => {
        setTrace([]);
        onDrawn(trace);
      }}
      onPointerCancel={() => setTrace([])}
    >
      {trace.length > 1 && <polygon points={trace.map((each) => each.join()).join(' ')} />}
    </svg>
  );
}
