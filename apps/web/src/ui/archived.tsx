import type { RunFilter } from '#libs/contracts';

type Archived = NonNullable<RunFilter['archived']>;

const WHICH: readonly (readonly [Archived, string])[] = [
  ['no', 'without archived'],
  ['all', 'with archived'],
  ['yes', 'archived only'],
];

/** What an address says of the archive; undefined where it leaves that to the list. */
export const archivedFrom = (query: Record<string, string>): Archived | undefined =>
  WHICH.find(([which]) => which === query['archived'])?.[0];

/** Whether a list has what was archived. `usual`: what it has where the address says nothing. */
export function ArchivedSelect({
  value,
  usual = 'no',
  onChange,
}: {
  value: Archived | undefined;
  usual?: Archived;
  onChange: (value: string) => void;
}) {
  return (
    <label>
      Archive{' '}
      <select value={value ?? usual} onChange={({ target }) => onChange(target.value === usual ? '' : target.value)}>
        {WHICH.map(([which, words]) => (
          <option key={which} value={which}>
            {words}
          </option>
        ))}
      </select>
    </label>
  );
}
