import { useState } from 'react';
import type { RunState } from '../data/run-feed.js';
import { Choice } from '../ui/controls.js';
import { save } from '../ui/hand-out.js';
import { Panel } from '../ui/panel.js';
import { Empty } from '../ui/states.js';

export function Log({ log, name }: { log: RunState['log']; name: string }) {
  const [least, setLeast] = useState<'info' | 'warn' | 'error'>('info');
  const [search, setSearch] = useState('');
  const levels = ['info', 'warn', 'error'] as const;
  const lines = log.filter(
    ({ level, message }) =>
      levels.indexOf(level) >= levels.indexOf(least) && message.toLowerCase().includes(search.toLowerCase()),
  );
  return (
    <Panel>
      <div className="controls">
        <Choice
          label="Level"
          value={least}
          onChange={setLeast}
          options={[
            ['info', 'all'],
            ['warn', 'warnings'],
            ['error', 'errors'],
          ]}
        />
        <label>
          Search <input type="search" value={search} onChange={({ target }) => setSearch(target.value)} />
        </label>
        <button
          className="quiet"
          onClick={() =>
            save(
              `${name}.log`,
              log.map(({ at, level, attempt, message }) => `${at} ${level} [${attempt}] ${message}\n`).join(''),
            )
          }
        >
          Download
        </button>
      </div>
      {lines.length === 0 ? (
        <Empty title={log.length === 0 ? 'The log is empty so far.' : 'No line is like that.'} />
      ) : (
        <div className="log" role="log" tabIndex={0} aria-label="Log">
          {lines.map((line) => (
            <div key={line.id} className={line.level}>
              <time>{new Date(line.at).toLocaleTimeString()}</time> {line.message}
            </div>
          ))}
        </div>
      )}
    </Panel>
  );
}
