import type { Run } from '#libs/contracts';

const HEADLINES = [
  ['eval/accuracy', 'accuracy'],
  ['eval/miou', 'mIoU'],
  ['eval/knn', 'kNN'],
  ['eval/probe_accuracy', 'probe'],
  ['eval/psnr', 'PSNR'],
] as const;

/** The metric that sums a run up in lists. */
export function bestOf({ metrics }: Pick<Run, 'metrics'>): string {
  const found = HEADLINES.find(([key]) => metrics[key] !== undefined);
  if (!found) return '';
  const value = metrics[found[0]]!;
  return `${found[1]} ${found[0] === 'eval/psnr' ? `${value.toFixed(1)} dB` : `${(100 * value).toFixed(1)} %`}`;
}
