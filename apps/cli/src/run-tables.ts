/** Runs, one in each row, and groups of runs. */
import { fieldText, parseSort, valueText, type Run, type RunGroups, type RunSort } from '#libs/contracts';
import { age, MISSING, progressText, statusText, table, waitText, type Output } from './render.js';

/** Runs in a table, with the metric or the field of the spec that they are sorted by. */
export function runsText(runs: readonly Run[], output: Output, sort = ''): string {
  const order = parseSort<RunSort['by']>(sort);
  const sortedBy = ownColumn(order);
  return table(
    ['id', 'kind', 'name', 'status', 'steps', 'age', ...(sortedBy ? [order.key] : [])],
    runs.map((run) => [
      run.id,
      run.kind,
      run.name ?? MISSING,
      statusText(run.status, output) +
        (run.statusReason ? ` (${run.statusReason})` : '') +
        (run.waitsFor ? `, ${waitText(run)}` : ''),
      progressText(run),
      age(run.createdAt),
      ...(sortedBy ? [sortedBy(run) ?? MISSING] : []),
    ]),
    output,
  );
}

/** Of what runs are sorted by, where no other column has it: its text. */
function ownColumn({ by, key }: RunSort): ((run: Run) => string | undefined) | undefined {
  if (by === 'metric') return ({ metrics }) => metrics[key]?.toPrecision(4);
  return by === 'spec' ? ({ spec }) => fieldText(spec, key) : undefined;
}

/** Groups in a table: their fields, how many runs each has, and mean ± deviation of each metric. */
export function groupsText({ groups, more }: RunGroups, output: Output): string {
  const fields = Object.keys(groups[0]?.by ?? {});
  const keys = [...new Set(groups.flatMap(({ metrics }) => Object.keys(metrics)))].sort();
  const rows = groups.map(({ by, runs, metrics }) => [
    ...fields.map((field) => (by[field] === null ? MISSING : valueText(by[field]))),
    String(runs),
    ...keys.map((key) => {
      const found = metrics[key];
      if (!found) return MISSING;
      const spread = found.deviation === null ? '' : ` ± ${found.deviation.toPrecision(2)}`;
      return `${found.mean.toPrecision(4)}${spread} (${found.runs})`;
    }),
  ]);
  const text = table([...fields, 'runs', ...keys], rows, output);
  return more > 0 ? `${text}\nand ${more} smaller groups` : text;
}
