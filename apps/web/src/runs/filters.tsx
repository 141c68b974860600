/** What a list of runs is narrowed to; all of it is in the address. */
import { parseCondition, RUN_KINDS, RunStatus, type Run, type RunFilter } from '#libs/contracts';
import { useEffect, useEffectEvent, useRef, useState } from 'react';
import { listOf } from '../route.js';
import { archivedFrom } from '../ui/archived.js';

/** The filter that the address names; what it doesn't know is left out. */
export function filterFrom(query: Record<string, string>): RunFilter {
  const status = listOf(query['status']).filter((each): each is RunStatus => RunStatus.safeParse(each).success);
  const kind = listOf(query['kind']).filter((each): each is Run['kind'] =>
    (RUN_KINDS as readonly string[]).includes(each),
  );
  const where = listOf(query['where']).filter((each) => parseCondition(each));
  return {
    ...(where.length && { where }),
    status: status.length ? status : undefined,
    kind: kind.length ? kind : undefined,
    ...(query['search'] && { search: query['search'] }),
    ...(query['name'] && { name: query['name'] }),
    ...(query['tag'] && { tag: query['tag'] }),
    ...(query['sweep'] && { sweep: query['sweep'] }),
    ...(query['parent'] && { parent: query['parent'] }),
    ...(archivedFrom(query) && { archived: archivedFrom(query) }),
  };
}

/**
 * Conditions on last values of metrics and on fields of the spec; `onChange` is called when the field is left and all
 * can be parsed.
 */
export function Conditions({
  value,
  metrics,
  onChange,
}: {
  value: string;
  metrics: readonly string[];
  onChange: (value: string) => void;
}) {
  const [text, setText] = useState(value);
  const last = useRef(value);
  useEffect(() => {
    if (value !== last.current) {
      last.current = value;
      setText(value);
    }
  }, [value]);
  const parts = text
    .split(',')
    .map((each) => each.replaceAll(/\s/g, ''))
    .filter(Boolean);
  const wrong = parts.find((each) => !parseCondition(each));
  const send = () => {
    if (wrong === undefined && parts.join() !== last.current) {
      last.current = parts.join();
      onChange(last.current);
    }
  };
  return (
    <label>
      Where{' '}
      <input
        value={text}
        placeholder={`${metrics.find((each) => each.startsWith('eval/')) ?? 'eval/knn'}>0.5`}
        maxLength={400}
        aria-invalid={wrong !== undefined}
        title={
          wrong === undefined
            ? 'a metric, one of < <= > >= = and a number, or spec:FIELD and a value; several with commas between'
            : `expected a condition such as eval/knn>0.5 or spec:method=simclr, got ${wrong}`
        }
        onChange={({ target }) => setText(target.value)}
        onBlur={send}
        onKeyDown={({ key }) => {
          if (key === 'Enter') send();
        }}
      />
    </label>
  );
}

/** A text to search for; `onChange` is called when typing pauses. */
export function Search({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  const [text, setText] = useState(value);
  const last = useRef(value);
  useEffect(() => {
    if (value !== last.current) {
      last.current = value;
      setText(value);
    }
  }, [value]);
  const send = useEffectEvent(() => {
    last.current = text;
    onChange(text);
  });
  useEffect(() => {
    if (text === last.current) return;
    const timer = setTimeout(() => send(), 250);
    return () => clearTimeout(timer);
  }, [text]);
  return (
    <label>
      Name or id{' '}
      <input
        type="search"
        value={text}
        placeholder="any part of either"
        maxLength={128}
        onChange={({ target }) => setText(target.value)}
      />
    </label>
  );
}
