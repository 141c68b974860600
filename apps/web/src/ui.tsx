/** What all pages are built of. */
import {
  ago,
  ApiError,
  duration,
  isTerminal,
  RUN_ACTIONS,
  UnreachableError,
  type Run,
  type RunAction,
} from '#libs/contracts';
import { useMutation, type UseQueryResult } from '@tanstack/react-query';
import { useEffect, useId, useRef, useState, type ReactNode } from 'react';
import { client, meter, refresh } from './data.js';
import { link } from './route.js';

// Time

const clock = {
  now: Date.now(),
  listeners: new Set<(now: number) => void>(),
  timer: 0 as ReturnType<typeof setInterval> | 0,
};
/** Now, once a second. */
export function useNow(): number {
  const [now, set] = useState(() => Date.now());
  useEffect(() => {
    clock.listeners.add(set);
    if (!clock.timer)
      clock.timer = setInterval(() => {
        if (!document.hidden) for (const each of clock.listeners) each(Date.now());
      }, 1000);
    return () => {
      clock.listeners.delete(set);
      if (clock.listeners.size === 0 && clock.timer) {
        clearInterval(clock.timer);
        clock.timer = 0;
      }
    };
  }, []);
  return now;
}

export function Ago({ at, none = '–' }: { at: string | null; none?: string }) {
  const now = useNow();
  return at === null ? (
    <>{none}</>
  ) : (
    <time dateTime={at} title={new Date(at).toLocaleString()}>
      {ago(at, now)}
    </time>
  );
}

// Pictures that stand for words

const PATHS = {
  overview: 'M3 3h8v10H3zM13 3h8v6h-8zM13 11h8v10h-8zM3 15h8v6H3z',
  runs: 'M4 6h16M4 12h16M4 18h10',
  sweeps: 'M3 3h5v5H3zM10 3h5v5h-5zM17 3h4v5h-4zM3 10h5v5H3zM10 10h5v5h-5zM17 10h4v5h-4zM3 17h5v4H3zM10 17h5v4h-5z',
  map:
    'M6 7a1 1 0 1 0 .1 0M11 4a1 1 0 1 0 .1 0M9 11a1 1 0 1 0 .1 0M16 9a1 1 0 1 0 .1 0M18 15a1 1 0 1 0 .1 0M14 17a1 1 ' +
    '0 1 0 .1 0M6 18a1 1 0 1 0 .1 0',
  machines: 'M4 4h16v6H4zM4 14h16v6H4zM7 7h1M7 17h1',
  plus: 'M12 5v14M5 12h14',
  light:
    'M12 7a5 5 0 1 0 .1 0M12 1v2M12 21v2M1 12h2M21 12h2M4.2 4.2l1.4 1.4M18.4 18.4l1.4 1.4M4.2 19.8l1.4-1.4M18.4 ' +
    '5.6l1.4-1.4',
  dark: 'M20 14A8.5 8.5 0 0 1 10 4a8.5 8.5 0 1 0 10 10z',
  auto: 'M12 3a9 9 0 1 0 .1 0M12 3v18',
} as const;
export const Icon = ({ name }: { name: keyof typeof PATHS }) => (
  <svg className="icon" viewBox="0 0 24 24" aria-hidden="true">
    <path d={PATHS[name]} />
  </svg>
);

// States of what is asked for

export function Fault({ error, again }: { error: unknown; again?: () => void }) {
  const lost = error instanceof UnreachableError;
  return (
    <div className="fault" role="alert">
      <strong>
        {lost
          ? 'The API does not answer'
          : error instanceof ApiError && error.status === 404
            ? 'There is no such thing'
            : 'This did not work'}
      </strong>
      <p>
        {lost
          ? 'It is asked again every few seconds. `loom up` or `loom status` on its machine tells more.'
          : error instanceof Error
            ? error.message
            : String(error)}
      </p>
      {again && <button onClick={again}>Try again</button>}
    </div>
  );
}

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

// Parts of pages

export function Panel({
  title,
  aside,
  children,
  className = '',
}: {
  title?: ReactNode;
  aside?: ReactNode;
  children: ReactNode;
  className?: string;
}) {
  const id = useId();
  return (
    <section className={`panel ${className}`} {...(title !== undefined && { 'aria-labelledby': id })}>
      {title !== undefined && (
        <header>
          <h2 id={id}>{title}</h2>
          {aside}
        </header>
      )}
      {children}
    </section>
  );
}

export function Table({
  caption,
  head,
  rows,
  empty,
  keys,
}: {
  caption: string;
  head: ReactNode[];
  rows: ReactNode[][];
  empty: ReactNode;
  keys?: string[];
}) {
  if (rows.length === 0) return typeof empty === 'string' ? <Empty title={empty} /> : <>{empty}</>;
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label={caption}>
      <table>
        <thead>
          <tr>
            {head.map((title, i) => (
              <th key={i} scope="col">
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((cells, row) => (
            <tr key={keys?.[row] ?? row}>
              {cells.map((cell, column) => (
                <td key={column}>{cell}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export const nameOf = (run: Pick<Run, 'name' | 'kind' | 'id'>): string =>
  run.name ?? `${run.kind} ${run.id.slice(0, 8)}`;
export const RunLink = ({ run }: { run: Pick<Run, 'name' | 'kind' | 'id'> }) => (
  <a href={link(`runs/${run.id}`)}>{nameOf(run)}</a>
);

const WORDS: Record<string, string> = {
  upstream_failed: 'parent failed',
  timed_out: 'timed out',
  early_stopped: 'stopped early',
};
export const Status = ({ status, reason }: { status: string; reason?: string | null }) => (
  <span className={`status ${status}`}>
    <i aria-hidden="true" />
    {WORDS[status] ?? status}
    {reason && status !== 'succeeded' ? <small> {reason.replaceAll('_', ' ')}</small> : null}
  </span>
);

/** A bar with what is left; without a known number of steps it only says that something happens. */
export function Progress({
  run,
  attempt,
}: {
  run: Run;
  attempt?: { startedAt: string; resumedFromStep: number } | undefined;
}) {
  const now = useNow();
  if (run.status === 'succeeded')
    return (
      <span className="dim">
        {run.startedAt && run.finishedAt
          ? duration((Date.parse(run.finishedAt) - Date.parse(run.startedAt)) / 1000)
          : 'done'}
      </span>
    );
  if (run.totalSteps === null)
    return run.status === 'running' ? <progress aria-label="working" /> : <span className="dim">–</span>;
  const part = Math.min(1, run.step / run.totalSteps);
  const [rate, left] =
    run.status === 'running' ? [meter.rate(run, now, attempt), meter.remaining(run, now, attempt)] : [];
  return (
    <span className="progress">
      <progress max={1} value={part} aria-label={`${Math.round(100 * part)} % of ${run.totalSteps} steps`} />
      <span>
        <b>{Math.floor(100 * part)} %</b>
        {left !== undefined && <> · {duration(left)} left</>}
        {rate !== undefined && (
          <span className="dim"> · {rate >= 10 ? Math.round(rate) : rate.toPrecision(2)} steps/s</span>
        )}
      </span>
    </span>
  );
}

/** Counts by status as one bar. */
export function StatusBar({ counts }: { counts: Record<string, number> }) {
  const entries = Object.entries(counts)
    .filter(([, count]) => count > 0)
    .sort(([a], [b]) => BAR_ORDER.indexOf(a) - BAR_ORDER.indexOf(b));
  const text = entries.map(([status, count]) => `${count} ${WORDS[status] ?? status}`).join(', ');
  return (
    <span className="statusbar">
      <span className="bar" role="img" aria-label={text}>
        {entries.map(([status, count]) => (
          <i key={status} className={status} style={{ flexGrow: count }} />
        ))}
      </span>
      <small>{text}</small>
    </span>
  );
}
const BAR_ORDER = [
  'succeeded',
  'early_stopped',
  'running',
  'pausing',
  'cancelling',
  'retrying',
  'queued',
  'pending',
  'paused',
  'cancelled',
  'timed_out',
  'failed',
  'upstream_failed',
];

const ACTIONS: Record<RunAction, { word: string; call: (id: string) => Promise<Run> }> = {
  pause: { word: 'Pause', call: (id) => client.pauseRun(id) },
  resume: { word: 'Resume', call: (id) => client.resumeRun(id) },
  retry: { word: 'Retry', call: (id) => client.retryRun(id) },
  cancel: { word: 'Cancel', call: (id) => client.cancelRun(id) },
};

/** What can be done with a run in its status. */
export function RunActions({
  run,
  only,
  onDone,
}: {
  run: Pick<Run, 'id' | 'status' | 'name' | 'kind'>;
  only?: RunAction[];
  onDone?: () => void;
}) {
  const act = useMutation({
    mutationFn: (action: RunAction) => ACTIONS[action].call(run.id),
    onSettled: () => {
      void refresh();
      onDone?.();
    },
  });
  const possible = (Object.keys(ACTIONS) as RunAction[]).filter(
    (action) => (RUN_ACTIONS[action] as readonly string[]).includes(run.status) && (only?.includes(action) ?? true),
  );
  return (
    <span className="actions">
      {possible.map((action) => (
        <button
          key={action}
          className={action === 'cancel' ? 'danger' : ''}
          disabled={act.isPending}
          onClick={() => act.mutate(action)}
          aria-label={`${ACTIONS[action].word} ${nameOf(run)}`}
        >
          {ACTIONS[action].word}
        </button>
      ))}
      {act.error && (
        <span role="alert" className="bad">
          {act.error.message}
        </span>
      )}
    </span>
  );
}

export function Copy({ text, label = 'Copy' }: { text: string; label?: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 1500);
    return () => clearTimeout(timer);
  }, [copied]);
  return (
    <button className="quiet" onClick={() => void copyText(text).then(() => setCopied(true))} aria-live="polite">
      {copied ? 'Copied' : label}
    </button>
  );
}

/** Without https there is no clipboard API: the old way. */
async function copyText(text: string): Promise<void> {
  if (isSecureContext) return navigator.clipboard.writeText(text);
  const area = document.body.appendChild(Object.assign(document.createElement('textarea'), { value: text }));
  area.select();
  document.execCommand('copy');
  area.remove();
}

/** Boxes to tick, under a button. Escape and a click elsewhere close it. */
export function Menu({
  title,
  name,
  options,
  chosen,
  onToggle,
}: {
  title: ReactNode;
  name: string;
  options: readonly { id: string; label: string }[];
  chosen: readonly string[];
  onToggle: (id: string) => void;
}) {
  const box = useRef<HTMLDetailsElement>(null);
  useEffect(() => {
    const close = ({ target }: Event) => {
      if (!box.current!.contains(target as Node)) box.current!.open = false;
    };
    document.addEventListener('pointerdown', close);
    return () => document.removeEventListener('pointerdown', close);
  }, []);
  const onKeyDown = ({ key }: { key: string }) => {
    if (key !== 'Escape') return;
    box.current!.open = false;
    box.current!.querySelector('summary')!.focus();
  };
  return (
    <details className="menu" ref={box} onKeyDown={onKeyDown}>
      <summary>{title}</summary>
      <fieldset>
        <legend className="hidden">{name}</legend>
        {options.map(({ id, label }) => (
          <label key={id}>
            <input type="checkbox" checked={chosen.includes(id)} onChange={() => onToggle(id)} /> {label}
          </label>
        ))}
      </fieldset>
    </details>
  );
}

/** A choice of few, as one control. */
export function Choice<T extends string>({
  label,
  value,
  options,
  onChange,
}: {
  label: string;
  value: T;
  options: readonly (readonly [T, string])[];
  onChange: (value: T) => void;
}) {
  return (
    <span className="choice" role="group" aria-label={label}>
      {options.map(([each, text]) => (
        <button key={each} aria-pressed={each === value} onClick={() => onChange(each)}>
          {text}
        </button>
      ))}
    </span>
  );
}

export function Tabs<T extends string>({
  label,
  value,
  tabs,
  onChange,
}: {
  label: string;
  value: T;
  tabs: readonly (readonly [T, ReactNode])[];
  onChange: (value: T) => void;
}) {
  const bar = useRef<HTMLDivElement>(null);
  const move = (by: number) => {
    const at = (tabs.findIndex(([each]) => each === value) + by + tabs.length) % tabs.length;
    onChange(tabs[at]![0]);
    bar.current?.querySelectorAll<HTMLElement>('[role=tab]')[at]?.focus();
  };
  return (
    <div
      className="tabs"
      role="tablist"
      aria-label={label}
      ref={bar}
      onKeyDown={({ key }) => {
        if (key === 'ArrowRight') move(1);
        else if (key === 'ArrowLeft') move(-1);
      }}
    >
      {tabs.map(([each, text]) => (
        <button
          key={each}
          role="tab"
          aria-selected={each === value}
          tabIndex={each === value ? 0 : -1}
          onClick={() => onChange(each)}
        >
          {text}
        </button>
      ))}
    </div>
  );
}

/** A picture of bands one over the other, with a word for each at its side. */
export function Bands({ url, words, alt }: { url: string; words: readonly string[]; alt: string }) {
  return (
    <div className="bands">
      <span aria-hidden="true">
        {words.map((word, i) => (
          <small key={i}>{word}</small>
        ))}
      </span>
      <a href={url}>
        <img src={url} alt={alt} loading="lazy" />
      </a>
    </div>
  );
}

/** Hands a file to the browser. */
export function save(name: string, content: Blob | string, type = 'text/plain'): void {
  const url = URL.createObjectURL(typeof content === 'string' ? new Blob([content], { type }) : content);
  Object.assign(document.createElement('a'), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

export const isLive = (run: Pick<Run, 'status'>): boolean => !isTerminal(run.status);

/** A colour of the stylesheet as the browser computes it in the theme that is on: canvases don't know variables. */
export function themeColour(name: string): string {
  const probe = document.body.appendChild(document.createElement('i'));
  probe.style.color = `var(--${name})`;
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

/** Goes up when the theme changes, so that what is drawn is drawn again. */
export function useTheme(): string {
  const [theme, set] = useState(() => themeColour('ink'));
  useEffect(() => {
    const change = () => set(themeColour('ink'));
    const dark = matchMedia('(prefers-color-scheme: dark)');
    dark.addEventListener('change', change);
    addEventListener('themechange', change);
    return () => {
      dark.removeEventListener('change', change);
      removeEventListener('themechange', change);
    };
  }, []);
  return theme;
}

/** Of lines and classes: told apart by most colour-blind people, 3:1 on both papers. */
export const PALETTE = [
  '#4269d0',
  '#d9730d',
  '#2f9e6e',
  '#d6455d',
  '#9467bd',
  '#0e93a8',
  '#c2528b',
  '#8a7a1f',
  '#7a8694',
  '#a0603f',
];
export const colourOf = (i: number): string => PALETTE[i % PALETTE.length]!;
