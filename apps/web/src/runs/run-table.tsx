import { runLabel, type Run } from '#libs/contracts';
import { toggled } from '../route.js';
import { ChooseAll } from '../ui/bulk-bar.js';
import { RunLink } from '../ui/run-status.js';
import { columnOf, Heading } from './columns.js';

/** Runs as rows that can be chosen, under headings that can be sorted by. `columns`, `chosen`: ids. */
export function RunTable({
  runs,
  columns,
  sort,
  chosen,
  onChoose,
  onSort,
}: {
  runs: readonly Run[];
  columns: readonly string[];
  sort: string;
  chosen: readonly string[];
  onChoose: (ids: readonly string[]) => void;
  onSort: (sort: string) => void;
}) {
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label="Runs">
      <table className="runs">
        <thead>
          <tr>
            <th scope="col">
              <ChooseAll ids={runs.map(({ id }) => id)} chosen={chosen} onChoose={onChoose} />
            </th>
            <Heading name="run" by="name" sort={sort} onSort={onSort} />
            {columns.map((id) => (
              <Heading key={id} name={columnOf(id)!.name} by={columnOf(id)!.sort} sort={sort} onSort={onSort} />
            ))}
          </tr>
        </thead>
        <tbody>
          {runs.map((run) => (
            <tr key={run.id} className={chosen.includes(run.id) ? 'chosen' : ''}>
              <td>
                <input
                  type="checkbox"
                  aria-label={`Choose ${runLabel(run)}`}
                  checked={chosen.includes(run.id)}
                  onChange={() => onChoose(toggled(chosen, run.id))}
                />
              </td>
              <td className="name">
                <RunLink run={run} />
              </td>
              {columns.map((id) => (
                <td key={id}>{columnOf(id)!.cell(run)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
