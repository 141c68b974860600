import type { Estimate, SweepTable } from '#libs/contracts';
import { csv } from '../figures/csv.js';
import { share, signOf } from '../figures/numbers.js';
import { save } from '../ui/hand-out.js';
import { Panel, Table } from '../ui/panel.js';

function percent(estimate: Estimate | null | undefined, sign = false): string {
  if (!estimate) return '–';
  const { mean, ci95 } = estimate;
  const interval = ci95 === null ? '' : ` ± ${(ci95 * 100).toFixed(1)}`;
  return `${sign && mean >= 0 ? '+' : ''}${(mean * 100).toFixed(1)}${interval}`;
}

/** Gains are good or bad where they can be told from none; other estimates are neither. */
const toneOf = (estimate: Estimate | null | undefined, sign = false): string =>
  sign && estimate ? { '1': 'good', '0': '', '-1': 'bad' }[signOf(estimate)] : '';

export function ResultTable({
  table,
  name,
  linkOf,
}: {
  table: SweepTable;
  name: string;
  /** Where the trials of a row are listed. */
  linkOf: (row: SweepTable['rows'][number]) => string | undefined;
}) {
  const fractions = [...new Set(table.rows.flatMap((row) => Object.keys(row.accuracy)))].sort(
    (a, b) => Number(a) - Number(b),
  );
  const all: { title: string; of: (row: SweepTable['rows'][number]) => Estimate | null | undefined; sign?: boolean }[] =
    [
      { title: 'kNN', of: (row) => row.knn },
      { title: 'probe', of: (row) => row.probe },
      { title: 'probe of a random encoder', of: (row) => row.randomProbe },
      ...fractions.flatMap((fraction) => [
        { title: `accuracy ${share(fraction)}`, of: (row: SweepTable['rows'][number]) => row.accuracy[fraction] },
        { title: `scratch ${share(fraction)}`, of: (row: SweepTable['rows'][number]) => row.scratch[fraction] },
        { title: `gain ${share(fraction)}`, of: (row: SweepTable['rows'][number]) => row.gain[fraction], sign: true },
      ]),
    ];
  const columns = all.filter(({ of }) => table.rows.some((row) => of(row)));
  const by = columns.find(({ title }) => title.startsWith('accuracy')) ?? columns[0];
  const rows = [...table.rows].sort((a, b) => (by?.of(b)?.mean ?? -1) - (by?.of(a)?.mean ?? -1));
  return (
    <Panel
      title="All combinations"
      aside={
        <button
          className="quiet"
          onClick={() =>
            save(
              `${name}-results.csv`,
              csv([
                ['combination', ...columns.flatMap(({ title }) => [title, `${title} ci95`])],
                ...rows.map((row) => [row.combo, ...columns.flatMap(({ of }) => [of(row)?.mean, of(row)?.ci95])]),
              ]),
              'text/csv',
            )
          }
          aria-label="All combinations as CSV"
        >
          CSV
        </button>
      }
    >
      <p className="dim">
        In %, the highest mean first; ± is half of the 95 % interval over seeds. Gains are the mean of paired
        differences to the from-scratch control on the same labels; one whose interval holds 0 has no colour.
      </p>
      <Table
        caption="All combinations"
        empty="Nothing has finished yet."
        keys={rows.map(({ combo }) => combo)}
        head={['combination', ...columns.map(({ title }) => title)]}
        rows={rows.map((row) => [
          <a href={linkOf(row)}>{row.combo}</a>,
          ...columns.map(({ of, sign, title }) => {
            const estimate = of(row);
            return (
              <span key={title} className={toneOf(estimate, sign)}>
                {percent(estimate, sign)}
              </span>
            );
          }),
        ])}
      />
    </Panel>
  );
}
