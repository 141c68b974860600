/** Where the parts of a drawing lead. */

/**
 * The channel of the links of some marks, which leads nowhere where none of them does, as in a report: a line whose
 * channel has no value would not be drawn.
 */
export const leading = <Part>(
  parts: readonly Part[],
  linkOf: (part: Part) => string | undefined,
): { href?: (part: Part) => string | undefined } =>
  parts.some((part) => linkOf(part) !== undefined) ? { href: linkOf } : {};
