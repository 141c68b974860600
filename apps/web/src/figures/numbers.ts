/** Numbers as figures say them. */
import type { Estimate } from '#libs/contracts';

export const percent = (value: number, digits = 1) => `${(100 * value).toFixed(digits)} %`;

export const share = (fraction: string) => `${Number((Number(fraction) * 100).toPrecision(3))} %`;

export const within = ({ mean, ci95 }: Estimate): [number, number] => [mean - (ci95 ?? 0), mean + (ci95 ?? 0)];
