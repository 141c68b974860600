/** Classes of pixels out of a picture that shows them as colours over its images. Pure. */

/** How much of a class's colour there is in a pixel that it covers, as the pictures are made. */
export const OVERLAY_OPACITY = 0.6;
/** A pixel without a class, which shows the image. */
export const NO_CLASS = 255;

type Rgb = readonly [number, number, number];

export const rgbOf = (hex: string): Rgb =>
  [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)) as unknown as Rgb;

/**
 * The class of each pixel. `image` and `covered`: RGBA of the same pixels, without and with the colours over them;
 * what is nearest to the colour of no class shows the image alone.
 */
export function classesOf(image: Uint8ClampedArray, covered: Uint8ClampedArray, colours: readonly Rgb[]): Uint8Array {
  const classes = new Uint8Array(image.length / 4);
  for (let pixel = 0; pixel < classes.length; pixel++) {
    const at = 4 * pixel;
    let [nearest, least] = [NO_CLASS, 0];
    for (let part = 0; part < 3; part++) least += (covered[at + part]! - image[at + part]!) ** 2;
    colours.forEach((colour, label) => {
      let distance = 0;
      for (let part = 0; part < 3; part++)
        distance +=
          (covered[at + part]! - image[at + part]! * (1 - OVERLAY_OPACITY) - colour[part]! * OVERLAY_OPACITY) ** 2;
      if (distance < least) [nearest, least] = [label, distance];
    });
    classes[pixel] = nearest;
  }
  return classes;
}

/** The image under the colours of some classes, as much of these as `opacity` (0 to 1) says: RGBA. */
export function painted(
  image: Uint8ClampedArray,
  classes: Uint8Array,
  colours: readonly Rgb[],
  { shown, opacity }: { shown: ReadonlySet<number>; opacity: number },
): Uint8ClampedArray<ArrayBuffer> {
  const pixels = new Uint8ClampedArray(image);
  classes.forEach((label, pixel) => {
    const colour = shown.has(label) ? colours[label] : undefined;
    if (!colour) return;
    for (let part = 0; part < 3; part++)
      pixels[4 * pixel + part] = image[4 * pixel + part]! * (1 - opacity) + colour[part]! * opacity;
  });
  return pixels;
}
