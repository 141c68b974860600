import { augmentationName, canonicalJson, viewsName, type Run } from '#libs/contracts';
import { useState } from 'react';
import { client, useLive } from '../data/queries.js';
import { Bands } from '../ui/bands.js';
import { Panel } from '../ui/panel.js';
import { isLive, RunLink } from '../ui/run-status.js';

/** Combinations whose views are shown before one asks for all. */
const FIRST_VIEWS = 12;

/** What the networks of each combination saw: the views of the first pretraining with it. */
export function Views({ runs }: { runs: Run[] }) {
  const [all, setAll] = useState(false);
  const seen = new Map<string, { run: Run; combo: string }>();
  for (const run of runs.toReversed())
    if (run.spec.kind === 'pretrain' && run.spec.augmentation)
      seen.set(canonicalJson(run.spec.augmentation), { run, combo: augmentationName(run.spec.augmentation) });
    else if (run.spec.kind === 'pretrain' && typeof run.spec.views === 'object')
      seen.set(canonicalJson(run.spec.views), { run, combo: viewsName(run.spec.views) });
  const combinations = [...seen.values()];
  if (combinations.length === 0) return null;
  return (
    <Panel
      title="What the networks see"
      aside={
        combinations.length > FIRST_VIEWS &&
        !all && (
          <button className="quiet" onClick={() => setAll(true)}>
            Show all {combinations.length}
          </button>
        )
      }
    >
      <p className="dim">Samples over two random views of each: what a network is told to see as the same.</p>
      <div className="combinations">
        {combinations.slice(0, all ? undefined : FIRST_VIEWS).map(({ run, combo }) => (
          <CombinationViews key={run.id} run={run} combo={combo} />
        ))}
      </div>
    </Panel>
  );
}

function CombinationViews({ run, combo }: { run: Run; combo: string }) {
  // The first file that a pretraining writes.
  const views = useLive(
    ['views', run.id],
    async () =>
      (await client.artifacts(run.id, { limit: 20 })).items.findLast(({ name }) => name === 'views.png') ?? null,
    { live: (file) => file === null && isLive(run) },
  );
  return (
    <figure>
      {views.data ? (
        <Bands
          url={client.artifactUrl(run.id, views.data.id)}
          words={['', '', '']}
          alt={`Samples over two views of each by ${combo}`}
        />
      ) : (
        <p className="dim">
          {views.isPending && 'Loading …'}
          {!views.isPending && (isLive(run) ? 'It has not begun yet.' : 'It has left no picture of its views.')}
        </p>
      )}
      <figcaption>
        <b>{combo}</b>
        <RunLink run={run} />
      </figcaption>
    </figure>
  );
}
