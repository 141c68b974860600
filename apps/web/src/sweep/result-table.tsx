import { isShare, metricWord, shortNumber, type Estimate, type SweepTable } from '#libs/contracts';
import { csv } from '../figures/csv.js';
import { share, signOf, type Ranking } from '../figures/numbers.js';
import { save } from '../ui/hand-out.js';
import { Panel, Table } from '../ui/panel.js';

/** A column of estimates: of the metric `of`, with its sign where it is a difference. */
interface Column {
  title: string;
  metric: string;
  of: (row: SweepTable['rows'][number]) => Estimate | null | undefined;
  sign?: boolean;
}

/** Shares in %, without the sign, which stands above the table; other metrics as they are. */
function textOf(estimate: Estimate | null | undefined, { metric, sign = false }: Column): string {
  if (!estimate) return '–';
  const { mean, ci95 } = estimate;
  const number = (value: number) => (isShare(metric) ? (value * 100).toFixed(1) : shortNumber(value));
  return `${sign && mean >= 0 ? '+' : ''}${number(mean)}${ci95 === null ? '' : ` ± ${number(ci95)}`}`;
}

/** Gains are good or bad where they can be told from none; other estimates are neither. */
const toneOf = (estimate: Estimate | null | undefined, { sign = false }: Column, goal: Ranking['goal']): string =>
  sign && estimate ? { '1': 'good', '0': '', '-1': 'bad' }[signOf(estimate, goal)] : '';

/** Columns that some row has, and rows from the best mean of the metric on; `lowest`: less is better. */
function shownOf(table: SweepTable, ranking: Ranking) {
  const fractions = [...new Set(table.rows.flatMap((row) => Object.keys(row.accuracy)))].sort(
    (a, b) => Number(a) - Number(b),
  );
  const { name: metric, goal } = ranking;
  const word = metricWord(ranking.name);
  const all: Column[] = [
    { title: 'kNN', metric: 'eval/knn', of: (row) => row.knn },
    { title: 'probe', metric: 'eval/probe_accuracy', of: (row) => row.probe },
    { title: 'probe of a random encoder', metric: 'eval/probe_accuracy', of: (row) => row.randomProbe },
    ...fractions.flatMap((fraction): Column[] => [
      { title: `${word} ${share(fraction)}`, metric, of: (row) => row.accuracy[fraction] },
      { title: `scratch ${share(fraction)}`, metric, of: (row) => row.scratch[fraction] },
      { title: `gain ${share(fraction)}`, metric, of: (row) => row.gain[fraction], sign: true },
    ]),
  ];
  const columns = all.filter(({ of }) => table.rows.some((row) => of(row)));
  const finetuned = columns.find(({ title }) => title.startsWith(`${word} `));
  const by = finetuned ?? columns[0];
  const lowest = finetuned !== undefined && goal === 'minimize';
  const rank = (row: SweepTable['rows'][number]) => {
    const mean = by?.of(row)?.mean ?? (lowest ? Infinity : -Infinity);
    return lowest ? mean : -mean;
  };
  // Those that have none are equally far: their difference is none.
  const rows = [...table.rows].sort((a, b) => rank(a) - rank(b) || 0);
  return { columns, rows, lowest };
}

export function ResultTable({
  table,
  ranking,
  name,
  linkOf,
}: {
  table: SweepTable;
  ranking: Ranking;
  name: string;
  /** Where the trials of a row are listed. */
  linkOf: (row: SweepTable['rows'][number]) => string | undefined;
}) {
  const { columns, rows, lowest } = shownOf(table, ranking);
  const { goal } = ranking;
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
        Shares in %, the {lowest ? 'lowest' : 'highest'} mean first; ± is half of the 95 % interval over seeds. Gains
        are the mean of paired differences to the from-scratch control on the same labels; one whose interval holds 0
        has no colour.
      </p>
      <Table
        caption="All combinations"
        empty="Nothing has finished yet."
        keys={rows.map(({ combo }) => combo)}
        head={['combination', ...columns.map(({ title }) => title)]}
        rows={rows.map((row) => [
          <a href={linkOf(row)}>{row.combo}</a>,
          ...columns.map((column) => {
            const estimate = column.of(row);
            return (
              <span key={column.title} className={toneOf(estimate, column, goal)}>
                {textOf(estimate, column)}
              </span>
            );
          }),
        ])}
      />
    </Panel>
  );
}
