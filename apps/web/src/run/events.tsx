import type { RunEvent } from '#libs/contracts';
import { Panel } from '../ui/panel.js';
import { Empty } from '../ui/states.js';

export const Events = ({ events }: { events: readonly RunEvent[] }) => (
  <Panel>
    {events.length === 0 ? (
      <Empty title="Nothing has happened yet." />
    ) : (
      <ol className="events">
        {events.map((event) => (
          <li key={event.id}>
            <time dateTime={event.at} title={event.at}>
              {new Date(event.at).toLocaleTimeString()}
            </time>
            <div>
              <b>{event.type.replaceAll('_', ' ')}</b>
              {event.attempt > 0 && <span className="dim"> attempt {event.attempt}</span>}
              <span className="dim">
                {' '}
                {Object.entries(event.data)
                  .filter(([, value]) => value !== null && value !== '')
                  .map(
                    ([key, value]) =>
                      `${key} ${typeof value === 'object' ? JSON.stringify(value) : String(value as string | number)}`,
                  )
                  .join(' · ')}
              </span>
            </div>
          </li>
        ))}
      </ol>
    )}
  </Panel>
);
