/** 1: features are spread evenly over the sphere; 0: all the same. */
export function CollapseMeter({
  spread,
  limit,
  rank,
}: {
  spread: number | undefined;
  limit: number | null;
  rank: number | undefined;
}) {
  if (spread === undefined) return null;
  const low = limit ?? 0.1;
  const wide = spread < 0.35 ? 'Narrow' : 'Healthy';
  return (
    <div className="collapse">
      <meter
        min={0}
        max={1}
        low={low}
        high={0.35}
        optimum={1}
        value={spread}
        aria-label={`Spread of the features ${spread.toFixed(2)} of 1`}
      />
      <p>
        <b>{spread < low ? 'Collapsed' : wide}</b>: the features’ spread is {spread.toFixed(2)} (1: even over the
        sphere, 0: one point)
        {rank !== undefined && <>, their effective rank {rank.toFixed(1)}</>}.
        {limit !== null && <> The run ends below {limit}.</>}
      </p>
    </div>
  );
}
