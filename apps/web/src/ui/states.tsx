/** What stands in a place whose contents are on their way, are none, or could not be had. */
import { ApiError, UnreachableError, type DamagedRow } from '#libs/contracts';
import type { UseQueryResult } from '@tanstack/react-query';
import { useId, useLayoutEffect, type ReactNode } from 'react';
import { useWatched, Watched } from '../data/watched.js';

// States of what is asked for

/** What the faults on the page say, the first that came first. */
const said = new Watched<readonly { text: string; by: string }[]>([]);

/** Whether this is the first on the page that says so: what several parts of it can't show is told once. */
function useFirst(text: string): boolean {
  const by = useId();
  useLayoutEffect(() => {
    said.set([...said.get(), { text, by }]);
    return () => said.set(said.get().filter((each) => each.by !== by));
  }, [text, by]);
  const first = useWatched(said).find((each) => each.text === text);
  return first === undefined || first.by === by;
}

export function Fault({ error, again }: { error: unknown; again?: () => void }) {
  const lost = error instanceof UnreachableError;
  const { title, text } = lost
    ? {
        title: 'The API does not answer',
        text: 'It is asked again every few seconds. `loom up` or `loom status` on its machine tells more.',
      }
    : {
        title: error instanceof ApiError && error.status === 404 ? 'There is no such thing' : 'This did not work',
        text: error instanceof Error ? error.message : String(error),
      };
  if (!useFirst(`${title} ${text}`)) return <p className="dim">Not here either, for the reason that is told above.</p>;
  return (
    <div className="fault" role="alert">
      <strong>{title}</strong>
      <p>{text}</p>
      {again && <button onClick={again}>Try again</button>}
    </div>
  );
}

/** What belongs in a list and can't be told because what is stored of it is damaged. */
export const Damaged = ({ rows = [] }: { rows?: readonly DamagedRow[] | undefined }) =>
  rows.length > 0 && (
    <div className="fault" role="alert">
      <strong>
        {rows.length === 1 ? 'One row is damaged and left out' : `${rows.length} rows are damaged and left out`}
      </strong>
      {rows.slice(0, MOST_DAMAGED).map(({ resource, id, field, message }) => (
        <p key={`${resource} ${id}`}>
          {resource} {id}: {field}: {message}
        </p>
      ))}
    </div>
  );
const MOST_DAMAGED = 10;

export const Skeleton = ({ lines = 4 }: { lines?: number }) => (
  <div className="skeleton" role="status" aria-label="Loading">
    {Array.from({ length: lines }, (_, i) => (
      <span key={i} style={{ width: `${90 - ((i * 37) % 45)}%` }} />
    ))}
  </div>
);

export const Empty = ({ title, children }: { title: string; children?: ReactNode }) => (
  <div className="empty">
    <strong>{title}</strong>
    {children}
  </div>
);

/** What was last heard stays on the page while the API is away; only what was never there shows the fault. */
export function Loaded<T>({
  query,
  lines,
  children,
}: {
  query: UseQueryResult<T>;
  lines?: number;
  children: (value: T) => ReactNode;
}) {
  if (query.data !== undefined)
    return (
      <>
        {query.error && !(query.error instanceof UnreachableError) ? <Fault error={query.error} /> : null}
        {children(query.data)}
      </>
    );
  return query.error ? (
    <Fault error={query.error} again={() => void query.refetch()} />
  ) : (
    <Skeleton {...(lines !== undefined && { lines })} />
  );
}
