/** Figures as files: SVG of its own, and PNG for print. */
import { themeColour } from '../ui/colours.js';
import { save } from '../ui/hand-out.js';

const SVG = 'http://www.w3.org/2000/svg';

/** The SVG as a file of its own: with its namespace and the paper that its ink was chosen for. */
function svgText(svg: SVGElement): string {
  const copy = svg.cloneNode(true) as SVGElement;
  copy.setAttribute('xmlns', SVG);
  copy.removeAttribute('aria-hidden');
  // One that is as wide as its place says how large it is itself.
  if (!copy.hasAttribute('width'))
    for (const side of ['width', 'height'] as const)
      copy.setAttribute(side, String(Math.round(svg.getBoundingClientRect()[side])));
  copy.style.background = themeColour('panel');
  // Colours of the style sheet are unknown outside of the page.
  return new XMLSerializer()
    .serializeToString(copy)
    .replaceAll(/var\(--([\w-]+)\)/g, (_, name: string) => themeColour(name));
}

export const saveSvg = (name: string, svg: SVGElement): void => save(`${name}.svg`, svgText(svg), 'image/svg+xml');

/** Saves the figure as PNG at twice its size, for print. @throws where the browser makes none */
export async function savePng(name: string, svg: SVGElement): Promise<void> {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svgText(svg))}`;
  await image.decode();
  await saveCanvas(name, canvasOf(image, 2));
}

/** Saves pixels as they are. @throws where the browser makes no PNG */
export async function saveCanvas(name: string, canvas: HTMLCanvasElement): Promise<void> {
  const png = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, 'image/png'));
  if (!png) throw new Error('expected the browser to make a PNG, it gave nothing');
  save(`${name}.png`, png);
}

/** A picture's pixels, `times` as large. */
export function canvasOf(image: HTMLImageElement, times = 1): HTMLCanvasElement {
  const canvas = Object.assign(document.createElement('canvas'), {
    width: image.naturalWidth * times,
    height: image.naturalHeight * times,
  });
  canvas.getContext('2d')!.drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** Pixels in an SVG of their size, each with its edges. */
export function svgOf(canvas: HTMLCanvasElement): SVGElement {
  const { width, height } = canvas;
  const svg = document.createElementNS(SVG, 'svg');
  const image = document.createElementNS(SVG, 'image');
  for (const [key, value] of Object.entries({ width, height })) {
    svg.setAttribute(key, String(value));
    image.setAttribute(key, String(value));
  }
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  image.setAttribute('href', canvas.toDataURL('image/png'));
  image.style.imageRendering = 'pixelated';
  svg.append(image);
  return svg;
}
