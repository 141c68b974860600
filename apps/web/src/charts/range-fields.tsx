/** Ends of an axis that were asked for. */
export interface Range {
  low?: number | undefined;
  high?: number | undefined;
}

/** Where an axis begins and ends; empty for what the values say. */
export function RangeFields({ range, onRange }: { range: Range; onRange: (range: Range) => void }) {
  return (['low', 'high'] as const).map((which) => (
    <label key={which}>
      {which === 'low' ? 'Lowest' : 'Highest'}{' '}
      <input
        type="number"
        step="any"
        placeholder="as it is"
        value={range[which] ?? ''}
        onChange={({ target }) =>
          onRange({ ...range, [which]: Number.isNaN(target.valueAsNumber) ? undefined : target.valueAsNumber })
        }
      />
    </label>
  ));
}
