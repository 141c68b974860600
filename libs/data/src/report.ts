/** What the user is told of files and classes that did not come as expected. */
import type { LogLevel, PrepareDataset, Split } from '#libs/contracts';
import { nounOf } from './classes.js';
import type { Source } from './containers.js';
import { named } from './invalid-data.js';
import type { Row } from './splits.js';

type Log = (level: LogLevel, message: string) => void;

/** Names the files that give no sample, by their reasons, and the classes that vanish with them. */
export function reportLeftOut(source: Source, spec: PrepareDataset, classes: readonly string[], log: Log): void {
  const { ignored, leftOut, lostClasses } = source;
  if (ignored.length) log('warn', `${ignored.length} files ${whyIgnored(spec)} and were left out: ${named(ignored)}`);
  for (const [reason, those] of Map.groupBy(leftOut, (each) => each.reason))
    log('warn', `${those.length} files were left out: ${named(those.map(({ name }) => name).sort())} ${reason}`);
  if (lostClasses.length)
    log(
      'warn',
      `${lostClasses.length} folders give no class, for nothing in them is one of the ${nounOf(spec)} that are ` +
        `read: ${named(lostClasses.map(({ name, reason }) => `${name} (${reason})`))}`,
    );
  if (classes.length === 0) log('warn', whyUnlabelled(source, spec));
}

function whyUnlabelled({ files }: Source, spec: PrepareDataset): string {
  const [folder] = new Set(files.map(({ className }) => className));
  const why = folder ? `all its ${nounOf(spec)} lie in one folder (${folder})` : `its ${nounOf(spec)} have no labels`;
  return (
    `the dataset has no classes, for ${why}: it is for pretraining and autoencoders, while fine-tuning and ` +
    'evaluation need a dataset with classes; where the names of files tell the class, fileName says how'
  );
}

function whyIgnored(spec: PrepareDataset): string {
  if (spec.masks) return 'are no images, or an image without a mask or a mask without an image,';
  const otherwise =
    spec.fileName === undefined ? 'or lie in no class folder' : `or don't fit the template ${spec.fileName}`;
  return `are no ${nounOf(spec)} ${otherwise}`;
}

/** Names the classes that a split has no sample of: what is measured there says nothing of them. */
export function reportRareClasses(
  rows: Record<Split, readonly Row[]>,
  spec: PrepareDataset,
  classes: readonly string[],
  log: Log,
): void {
  if (spec.masks) return;
  for (const split of ['val', 'test'] as const) {
    if (rows[split].length === 0) continue;
    const present = new Set(rows[split].map(({ label }) => label));
    const absent = classes.filter((_, label) => !present.has(label));
    if (absent.length)
      log(
        'warn',
        `${split} has no sample of ${absent.length} of ${classes.length} classes: ${named(absent)}. Give it samples ` +
          `of them, or a larger ${split}Fraction where it is drawn`,
      );
  }
}
