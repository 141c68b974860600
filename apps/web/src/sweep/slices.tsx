import type { SweepSpec } from '#libs/contracts';
import { useState } from 'react';
import { Slice } from '../figures/slices.js';
import { metricsOf, variedIn, type TrialPoint } from './trial-points.js';

/** Parameters that are looked at one by one, at most. */
const MOST_SLICES = 8;

/** Each parameter alone against a metric, and against a second one side by side. */
export function Slices({
  trials,
  metric,
  scales,
  name,
  linkOf,
}: {
  trials: readonly TrialPoint[];
  metric: string;
  scales: SweepSpec['parameters'];
  name: string;
  linkOf: (trial: number) => string | undefined;
}) {
  const [second, setSecond] = useState('');
  const metrics = metricsOf(trials, metric);
  const first = metrics[0];
  const varied = variedIn(trials).slice(0, MOST_SLICES);
  if (first === undefined || varied.length === 0) return null;
  return (
    <section aria-labelledby="slices">
      <div className="controls">
        <h2 id="slices">Each parameter alone</h2>
        {metrics.length > 1 && (
          <label>
            Beside {first}{' '}
            <select value={second} onChange={({ target }) => setSecond(target.value)}>
              <option value="">no other</option>
              {metrics
                .filter((key) => key !== first)
                .map((key) => (
                  <option key={key}>{key}</option>
                ))}
            </select>
          </label>
        )}
      </div>
      <div className="pair">
        {varied.flatMap((path) =>
          [first, ...(metrics.includes(second) ? [second] : [])].map((key) => (
            <Slice
              key={`${path} ${key}`}
              trials={trials}
              path={path}
              metric={key}
              scales={scales}
              name={name}
              linkOf={linkOf}
            />
          )),
        )}
      </div>
    </section>
  );
}
