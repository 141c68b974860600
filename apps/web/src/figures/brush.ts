/** Dragging along an axis of parallel coordinates. */
import type { Plot } from '@observablehq/plot';

/** Pixels from an axis within which it is meant, and that are a click and no drag. */
const [REACH, CLICK] = [18, 4];

/**
 * Lets parts of the axes of a drawn figure be chosen: `onBrush` gets the part, from 0 to 1, or undefined for a click,
 * which takes it back.
 */
export function brushable(
  drawn: (SVGSVGElement | HTMLElement) & Plot,
  axes: readonly string[],
  onBrush: (axis: string, part: readonly [number, number] | undefined) => void,
): void {
  const [x, y] = [drawn.scale('x'), drawn.scale('y')];
  if (!x || !y?.invert) return;
  const placeAt = (top: number) => Math.max(0, Math.min(1, y.invert!(top) as number));
  drawn.style.touchAction = 'pan-x';
  drawn.addEventListener('pointerdown', (event) => {
    const pointer = event as PointerEvent;
    const box = drawn.getBoundingClientRect();
    const [left, top] = [pointer.clientX - box.left, pointer.clientY - box.top];
    const axis = axes.find((each) => Math.abs((x.apply(each) as number) - left) <= REACH);
    if (axis === undefined) return;
    event.preventDefault();
    const shade = drawn.appendChild(document.createElementNS('http://www.w3.org/2000/svg', 'rect'));
    shade.setAttribute('class', 'brush');
    const show = (to: number) => {
      shade.setAttribute('x', String((x.apply(axis) as number) - 8));
      shade.setAttribute('width', '16');
      shade.setAttribute('y', String(Math.min(top, to)));
      shade.setAttribute('height', String(Math.abs(to - top)));
    };
    const move = (moved: Event) => show((moved as PointerEvent).clientY - box.top);
    const end = (ended: Event) => {
      removeEventListener('pointermove', move);
      removeEventListener('pointerup', end);
      shade.remove();
      const to = (ended as PointerEvent).clientY - box.top;
      const ends = [placeAt(top), placeAt(to)].sort((a, b) => a - b) as [number, number];
      onBrush(axis, Math.abs(to - top) < CLICK ? undefined : ends);
    };
    addEventListener('pointermove', move);
    addEventListener('pointerup', end);
  });
}
