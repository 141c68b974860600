import { ago } from '#libs/contracts';
import { useEffect, useState } from 'react';

// Time

const clock = {
  now: Date.now(),
  listeners: new Set<(now: number) => void>(),
  timer: 0 as ReturnType<typeof setInterval> | 0,
};

/** The current time, renewed every second. */
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
