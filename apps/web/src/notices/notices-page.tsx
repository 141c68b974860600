/** What has been told, and what is waited for. */
import { useEffect } from 'react';
import { useWatched } from '../data/watched.js';
import { link } from '../route.js';
import { Panel } from '../ui/panel.js';
import { Empty } from '../ui/states.js';
import { Ago } from '../ui/time.js';
import { markSeen, notices, unwatch, watches } from './notices.js';
import { Beside } from './notify-menu.js';

export function NoticesPage() {
  const told = useWatched(notices);
  const wanted = useWatched(watches);
  useEffect(() => markSeen, []);
  return (
    <>
      <h1>Notices</h1>
      <Panel
        title="So far"
        aside={
          told.length > 0 && (
            <button className="quiet" onClick={() => notices.change(() => [])}>
              Clear
            </button>
          )
        }
      >
        {told.length === 0 ? (
          <Empty title="Nothing yet.">
            <p>“Notify me” on the page of a run or a sweep says what you want to hear of.</p>
          </Empty>
        ) : (
          <ul className="notices" aria-label="Notices">
            {told.map(({ id, at, title, text, href, seen }) => (
              <li key={id} className={seen ? '' : 'unseen'}>
                <a href={href}>{title}</a> <span>{text}</span> <Ago at={new Date(at).toISOString()} />
              </li>
            ))}
          </ul>
        )}
      </Panel>
      <Panel title="Waited for">
        {wanted.length === 0 ? (
          <p className="dim">Nothing.</p>
        ) : (
          <ul className="notices" aria-label="Waited for">
            {wanted.map(({ id, of, target, name, where }) => (
              <li key={id}>
                <a href={link(`${of}s/${target}`)}>{name}</a> <span>{where ?? 'its end'}</span>{' '}
                <button
                  className="quiet"
                  aria-label={`No notice of ${name}: ${where ?? 'its end'}`}
                  onClick={() => unwatch(id)}
                >
                  ✕
                </button>
              </li>
            ))}
          </ul>
        )}
        <p>
          <Beside />
        </p>
        <p className="dim">
          Kept by this browser, which looks for as long as a page of this dashboard is open, be it in the background.
          What came while none was is told when one is opened.
        </p>
      </Panel>
    </>
  );
}
