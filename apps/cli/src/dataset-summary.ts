/** What `loom datasets add` says at its end. */
import { sampleText, summaryTable, type DatasetSummary } from '#libs/contracts';
import { paint, table, type Output } from './render.js';

/** Classes of a table that a person looks through. */
const MOST_ROWS = 30;

export function summaryText(summary: DatasetSummary, output: Output): string {
  const { head, rows } = summaryTable(summary);
  const hidden = Math.max(0, rows.length - 1 - MOST_ROWS);
  const shown = hidden > 0 ? [...rows.slice(0, MOST_ROWS), [`… ${hidden} more`], rows.at(-1)!] : rows;
  const { classes, sounds, leftOut, warnings, sample, dryRun } = summary;
  const lines = [
    `${classes.length || 'no'} classes, each sample ${sampleText(sample)}${dryRun ? '; nothing was prepared' : ''}`,
    ...(sounds ? [`${sounds.cut} sounds were longer and cut, ${sounds.padded} shorter and padded with silence`] : []),
    ...leftOut.map(({ reason, count, examples }) => {
      const more = count > examples.length ? ', …' : '';
      return `${paint('yellow', 'left out', output)} ${count}: ${reason} (${examples.join(', ')}${more})`;
    }),
    ...warnings.map((warning) => `${paint('yellow', 'warning', output)}: ${warning}`),
  ];
  return `\n${table(head, shown, output)}${lines.map((line) => `${line}\n`).join('')}`;
}
