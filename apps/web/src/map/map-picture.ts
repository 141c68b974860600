/** A map as it is looked at, for files: as circles, or as pixels where circles would be too many for a browser. */
import { themeColour } from '../ui/colours.js';

/** What a view of a map shows. */
export interface MapShown {
  width: number;
  height: number;
  /** Radius of a point in pixels. */
  radius: number;
  count: number;
  /** RGBA [4N]. */
  colours: Uint8Array;
  /** Place of a point in pixels. */
  place: (point: number) => [number, number];
}

const SVG = 'http://www.w3.org/2000/svg';
/** How many pixels of the PNG a pixel of the page has. */
const SCALE = 2;

function* seen({ width, height, radius, count, colours, place }: MapShown) {
  for (let point = 0; point < count; point++) {
    const [x, y] = place(point);
    if (x < -radius || y < -radius || x > width + radius || y > height + radius) continue;
    const [red, green, blue, alpha] = colours.subarray(4 * point, 4 * point + 4);
    yield { x, y, fill: `rgb(${red} ${green} ${blue})`, opacity: alpha! / 255 };
  }
}

/** A circle for each point that is in view. */
export function circlesOf(shown: MapShown): SVGElement {
  const { width, height, radius } = shown;
  const svg = document.createElementNS(SVG, 'svg');
  for (const [key, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}` }))
    svg.setAttribute(key, String(value));
  for (const { x, y, fill, opacity } of seen(shown)) {
    const circle = document.createElementNS(SVG, 'circle');
    for (const [key, value] of Object.entries({ cx: x.toFixed(1), cy: y.toFixed(1), r: radius.toFixed(1), fill }))
      circle.setAttribute(key, value);
    circle.setAttribute('fill-opacity', opacity.toFixed(2));
    svg.append(circle);
  }
  return svg;
}

/** The same in pixels, twice as large as on the page. */
export function pixelsOf(shown: MapShown): HTMLCanvasElement {
  const { width, height, radius } = shown;
  const canvas = Object.assign(document.createElement('canvas'), { width: SCALE * width, height: SCALE * height });
  const context = canvas.getContext('2d')!;
  context.fillStyle = themeColour('paper');
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.scale(SCALE, SCALE);
  for (const { x, y, fill, opacity } of seen(shown)) {
    context.fillStyle = fill;
    context.globalAlpha = opacity;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fill();
  }
  return canvas;
}
