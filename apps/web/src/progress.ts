/** How fast runs go, and how numbers are written: on pages as in the command line. */
export { ago, bytes, duration, RateMeter, shortNumber } from '#libs/contracts';
