/** Names over a map of what its clusters are made of. */
import { useEffect, useRef, type RefObject } from 'react';
import type { Cluster } from './density.js';
import type { Scatter } from './scatter.js';

/** A class that makes up less than this share of a cluster is not named. */
const LEAST_NAMED = 0.15;
const MOST_NAMED = 2;

/** Such as `cat 82 %, dog 15 %`; how many there are where no classes are known. */
function textOf({ count, mix }: Cluster, classes: readonly string[]): string {
  const named = mix.filter((each, i) => i < MOST_NAMED && each.count >= LEAST_NAMED * count);
  if (named.length === 0) return count.toLocaleString('en');
  return named.map((each) => `${classes[each.label] ?? '?'} ${Math.round((100 * each.count) / count)} %`).join(', ');
}

export function ClusterLabels({
  clusters,
  classes,
  scatter,
}: {
  clusters: readonly Cluster[];
  classes: readonly string[];
  scatter: RefObject<Scatter | undefined>;
}) {
  const list = useRef<HTMLUListElement>(null);
  useEffect(() => {
    const drawn = scatter.current;
    if (!drawn) return;
    const place = () =>
      clusters.forEach(({ x, y }, i) => {
        const [left, top] = drawn.placeOf(x, y);
        const label = list.current?.children[i] as HTMLElement | undefined;
        if (label) label.style.transform = `translate(${left}px, ${top}px) translate(-50%, -50%)`;
      });
    place();
    return drawn.onMove(place);
  }, [clusters, scatter]);
  return (
    <ul className="clusters" ref={list} aria-label="What clusters are made of">
      {clusters.map((cluster, i) => (
        <li key={i}>{textOf(cluster, classes)}</li>
      ))}
    </ul>
  );
}
