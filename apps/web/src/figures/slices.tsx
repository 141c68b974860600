import { shortNumber, type SweepSpec } from '#libs/contracts';
import * as Plot from '@observablehq/plot';
import { shortPath, type TrialPoint } from '../sweep/trial-points.js';
import { colourOf } from '../ui/colours.js';
import { Figure } from './figure.js';
import { isLogarithmic, valueOnAxis } from './parameter-scale.js';

/** What came of each trial over one parameter that was varied, whatever the others were. */
export function Slice({
  trials,
  path,
  metric,
  scales,
  name,
  linkOf,
}: {
  trials: readonly TrialPoint[];
  path: string;
  metric: string;
  scales: SweepSpec['parameters'];
  name: string;
  linkOf: (trial: number) => string | undefined;
}) {
  const points = trials.flatMap(({ index, parameters, metrics }) => {
    const [value, result] = [parameters[path], metrics[metric]];
    return value === undefined || result === undefined ? [] : [{ index, value, result }];
  });
  if (points.length < 2) return null;
  const numeric = points.every(({ value }) => typeof value === 'number');
  const log =
    numeric &&
    isLogarithmic(
      points.map(({ value }) => value as number),
      path,
      scales,
    );
  const title = `${metric.replace('eval/', '')} over ${shortPath(path)}`;
  const placeOf = ({ value }: { value: unknown }) => (numeric ? (value as number) : valueOnAxis(value));
  return (
    <Figure
      title={title}
      name={`${name}-${metric}-over-${path}`.replaceAll('/', '-')}
      data={[points, log]}
      caption={<>A point for each trial{log && ', on a logarithmic axis'}.</>}
      description={`${points.length} trials: ${title}`}
      rows={() => [['trial', path, metric], ...points.map((d) => [d.index, valueOnAxis(d.value), d.result])]}
      axis="y"
      draw={() => ({
        height: 240,
        marginLeft: 52,
        marginBottom: 42,
        x: {
          label: `${shortPath(path)} →`,
          ...(numeric && { inset: 10, ticks: 5, tickFormat: (d: number) => shortNumber(d) }),
          ...(log && { type: 'log' as const }),
        },
        y: { label: `↑ ${metric}`, grid: true, nice: true, tickFormat: (d: number) => shortNumber(d) },
        marks: [
          Plot.dot(points, {
            x: placeOf,
            y: 'result',
            fill: colourOf(0),
            fillOpacity: 0.75,
            r: 4,
            href: ({ index }: { index: number }) => linkOf(index),
            title: (d: { index: number; value: unknown; result: number }) =>
              `trial ${d.index}: ${valueOnAxis(d.value)}\n${metric} ${shortNumber(d.result)}`,
          }),
        ],
      })}
    />
  );
}
