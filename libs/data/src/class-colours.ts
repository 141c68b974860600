/** Colours of the classes of pixels, over and over; neighbours in the list are far apart in hue or lightness. */
export const CLASS_COLOURS: readonly number[] = [
  0xe6194b, 0x3cb44b, 0xffe119, 0x4363d8, 0xf58231, 0x911eb4, 0x42d4f4, 0xf032e6, 0xbfef45, 0xfabed4, 0x469990,
  0xdcbeff, 0x9a6324, 0xfffac8, 0x800000, 0xaaffc3, 0x808000, 0xffd8b1, 0x000075, 0xa9a9a9,
];

/** Colour of a class in an overlay, as `#e6194b`. */
export const overlayColour = (label: number): string =>
  `#${CLASS_COLOURS[label % CLASS_COLOURS.length]!.toString(16).padStart(6, '0')}`;
