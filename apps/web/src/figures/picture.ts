/** Figures as files: SVG of its own, and PNG for print. */
import { themeColour } from '../ui/colours.js';
import { save } from '../ui/hand-out.js';

/** The SVG as a file of its own: with its namespace and the paper that its ink was chosen for. */
function svgText(svg: SVGElement): string {
  const copy = svg.cloneNode(true) as SVGElement;
  copy.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
  copy.removeAttribute('aria-hidden');
  copy.style.background = themeColour('panel');
  return new XMLSerializer().serializeToString(copy);
}

export const saveSvg = (name: string, svg: SVGElement): void => save(`${name}.svg`, svgText(svg), 'image/svg+xml');

/** Saves the figure as PNG at twice its size, for print. @throws where the browser makes none */
export async function savePng(name: string, svg: SVGElement): Promise<void> {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svgText(svg))}`;
  await image.decode();
  const canvas = Object.assign(document.createElement('canvas'), {
    width: image.naturalWidth * 2,
    height: image.naturalHeight * 2,
  });
  canvas.getContext('2d')!.drawImage(image, 0, 0, canvas.width, canvas.height);
  const png = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, 'image/png'));
  if (!png) throw new Error('expected the browser to make a PNG, it gave nothing');
  save(`${name}.png`, png);
}
