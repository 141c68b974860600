/** What came and was not looked at: a number in the frame of all pages, and the newest above each. */
import { useWatched } from '../data/watched.js';
import { link } from '../route.js';
import { Icon } from '../ui/icon.js';
import { markSeen, notices } from './notices.js';

export function NoticesLink({ current }: { current: boolean }) {
  const unseen = useWatched(notices).filter(({ seen }) => !seen).length;
  return (
    <a
      href={link('notices')}
      className="bell"
      aria-current={current ? 'page' : undefined}
      aria-label={unseen > 0 ? `Notices, ${unseen} new` : 'Notices'}
    >
      <Icon name="bell" />
      {unseen > 0 && <b aria-hidden="true">{unseen}</b>}
    </a>
  );
}

/** The newest that nobody has looked at, and how many more there are. */
export function Unseen() {
  const unseen = useWatched(notices).filter(({ seen }) => !seen);
  const newest = unseen[0];
  return (
    <div role="status" className={newest ? 'notice' : undefined}>
      {newest && (
        <>
          <span>
            <a href={newest.href} onClick={markSeen}>
              {newest.title}
            </a>{' '}
            {newest.text}
            {unseen.length > 1 && (
              <>
                {' '}
                <a href={link('notices')}>{unseen.length - 1} more</a>
              </>
            )}
          </span>
          <button className="quiet" onClick={markSeen}>
            Seen
          </button>
        </>
      )}
    </div>
  );
}
