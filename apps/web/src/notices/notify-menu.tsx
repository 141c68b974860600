/** What one wants to hear of a run or a sweep. */
import { parseCondition } from '#libs/contracts';
import { useState } from 'react';
import { useWatched } from '../data/watched.js';
import { Dropdown } from '../ui/controls.js';
import { askPermission, permission, unwatch, watch, watches } from './notices.js';
import type { Watch } from './watches.js';

/** `metric`: one that it has, as an example. */
export function NotifyMenu({ of, target, name, metric }: Omit<Watch, 'id' | 'where'> & { metric: string | undefined }) {
  const own = useWatched(watches).filter((each) => each.of === of && each.target === target);
  const end = own.find(({ where }) => where === undefined);
  return (
    <Dropdown title={own.length > 0 ? `Notices (${own.length})` : 'Notify me'} name={`Notices of ${name}`}>
      <label>
        <input
          type="checkbox"
          checked={end !== undefined}
          onChange={() => (end ? unwatch(end.id) : watch({ of, target, name }))}
        />{' '}
        when it ends
      </label>
      {own.flatMap(({ id, where }) =>
        where === undefined
          ? []
          : [
              <button key={id} className="chip" aria-label={`Not when ${where}`} onClick={() => unwatch(id)}>
                when {where} ✕
              </button>,
            ],
      )}
      <Threshold example={`${metric ?? 'eval/knn'}>0.5`} onAdd={(where) => watch({ of, target, name, where })} />
      <Beside />
    </Dropdown>
  );
}

function Threshold({ example, onAdd }: { example: string; onAdd: (where: string) => void }) {
  const [text, setText] = useState('');
  const where = text.replaceAll(/\s/g, '');
  const wrong = where !== '' && parseCondition(where)?.of !== 'metric';
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (wrong || where === '') return;
        onAdd(where);
        setText('');
      }}
    >
      <label>
        when{' '}
        <input
          value={text}
          placeholder={example}
          maxLength={200}
          aria-invalid={wrong}
          title={`the last value of a metric, one of < <= > >= = and a number, such as ${example}`}
          onChange={({ target }) => setText(target.value)}
        />
        <button className="quiet" disabled={wrong || where === ''}>
          Add
        </button>
      </label>
    </form>
  );
}

/** Whether the browser shows notices beside the page, too. */
export function Beside() {
  const now = useWatched(permission);
  if (now === 'default')
    return (
      <button className="quiet" onClick={() => void askPermission()}>
        Also show them outside of the page
      </button>
    );
  const words = {
    granted: 'The browser shows them outside of the page too.',
    denied: 'Notices come in this page alone: the browser has been told to show none.',
    none: 'Notices come in this page alone: browsers show others only over HTTPS and on the own machine.',
  }[now];
  return <small className="dim">{words}</small>;
}
