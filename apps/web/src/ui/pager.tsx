import { useRoute } from '../route.js';

/** Separates the cursors of the pages before the current one, which the address holds. */
const DIVIDER = '~';

/** Pages of a list by keyset: `trail` holds the cursor of each page from the second to the current one. */
export function usePages(): { trail: readonly string[]; cursor: string | undefined } {
  const { query } = useRoute();
  const trail = query['at'] ? query['at'].split(DIVIDER) : [];
  return { trail, cursor: trail.at(-1) };
}

/** Buttons to the page before and to the page after the current one. */
export function Pager({ trail, nextCursor }: { trail: readonly string[]; nextCursor: string | null }) {
  const { change } = useRoute();
  return (
    <nav className="pager" aria-label="Pages of the list">
      <button disabled={trail.length === 0} onClick={() => change({ at: trail.slice(0, -1).join(DIVIDER) }, 'push')}>
        ← Back
      </button>
      <span className="dim">page {trail.length + 1}</span>
      <button
        disabled={nextCursor === null}
        onClick={() => change({ at: [...trail, nextCursor!].join(DIVIDER) }, 'push')}
      >
        Further →
      </button>
    </nav>
  );
}
