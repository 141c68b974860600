import { valueText } from '#libs/contracts';
import { client, useLive } from '../data/queries.js';
import { link } from '../route.js';
import { Loaded } from '../ui/states.js';

/** How many runs of each kind a filter names; each number leads to these runs. */
export function RunsByKind({ filter: { where, parent } }: { filter: { where?: string[]; parent?: string } }) {
  // What was archived uses it too.
  const filter = { ...(where && { where }), ...(parent && { parent }), archived: 'all' as const };
  const groups = useLive(['by-kind', filter], () => client.runGroups({ by: ['kind'], ...filter }), { keep: true });
  return (
    <Loaded query={groups} lines={1}>
      {({ groups: found }) =>
        found.length === 0 ? (
          <p className="dim">No run.</p>
        ) : (
          <ul className="plain">
            {found.map(({ by, runs }) => {
              const kind = valueText(by['kind'] ?? null);
              return (
                <li key={kind}>
                  <a href={link('runs', { where: where?.join(), parent, kind, archived: 'all' })}>
                    {runs.toLocaleString('en')} {kind}
                  </a>
                </li>
              );
            })}
          </ul>
        )
      }
    </Loaded>
  );
}
