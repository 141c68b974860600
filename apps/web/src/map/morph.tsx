import { runLabel, type Artifact } from '#libs/contracts';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { client, refresh, useLive } from '../data/queries.js';
import { useRun } from '../data/run-feed.js';
import { link } from '../route.js';
import { SoundList } from '../sounds/sound-list.js';
import { Panel } from '../ui/panel.js';
import { Picture } from '../ui/picture.js';
import { Progress, Status } from '../ui/run-status.js';
import { Empty, Fault, Loaded } from '../ui/states.js';
import { labelOf, type Latent } from './latent-run.js';
import { Thumbnail } from './thumbnail.js';

const MORPH_POINTS = 9;

/** From one sample to another through the latent space of an autoencoder, decoded on the way. */
export function Morph({ latent, ends, onClose }: { latent: Latent; ends: readonly number[]; onClose: () => void }) {
  const { file, run } = latent;
  const [chosen, choose] = useState<string>();
  const autoencoders = useLive(['runs', 'autoencoders', file.dataset], async () =>
    (await client.runs({ kind: ['autoencode'], status: ['succeeded'], limit: 200 })).items.filter(
      ({ spec }) => spec.kind === 'autoencode' && spec.variant !== 'masked' && spec.dataset === file.dataset,
    ),
  );
  const own = autoencoders.data?.find(({ id }) => run.spec.kind === 'embed' && id === run.spec.from);
  const from = chosen ?? own?.id ?? autoencoders.data?.[0]?.id;
  const { start, walk } = useWalk(file, ends, from);
  return (
    <Panel
      title="Morph"
      aside={
        <button className="quiet" onClick={onClose}>
          Close
        </button>
      }
    >
      <Loaded query={autoencoders} lines={1}>
        {(known) =>
          known.length === 0 ? (
            <Empty title={`There is no autoencoder of ${file.dataset.split('@')[0]} yet.`}>
              <p>
                It decodes what lies between two samples. <a href={link('new', { example: 'autoencode' })}>Train one</a>
              </p>
            </Empty>
          ) : (
            <div className="controls">
              <End latent={latent} point={ends[0]} word="From" />
              <span aria-hidden="true">→</span>
              <End latent={latent} point={ends[1]} word="To" />
              <label>
                by{' '}
                <select value={from} onChange={({ target }) => choose(target.value)}>
                  {known.map((each) => (
                    <option key={each.id} value={each.id}>
                      {runLabel(each)}
                    </option>
                  ))}
                </select>
              </label>
              <button className="primary" disabled={ends.length < 2 || start.isPending} onClick={() => start.mutate()}>
                Show the way
              </button>
              {start.error && (
                <span className="bad" role="alert">
                  {start.error.message}
                </span>
              )}
            </div>
          )
        }
      </Loaded>
      {walk && <Walk key={walk} id={walk} />}
    </Panel>
  );
}

/** Submits the walk between two samples of a map through the autoencoder `from`; `walk` is its run's id. */
function useWalk({ dataset, split, rows }: Latent['file'], ends: readonly number[], from: string | undefined) {
  const [walk, setWalk] = useState<string>();
  const start = useMutation({
    mutationFn: () =>
      client.submitRun({
        spec: {
          kind: 'interpolate',
          dataset,
          from: from!,
          between: { rows: [rows[ends[0]!]!, rows[ends[1]!]!] },
          points: MORPH_POINTS,
          samples: 0,
          split: split as 'train',
        },
        name: `morph-${rows[ends[0]!]}-to-${rows[ends[1]!]}`,
      }),
    onSuccess: ({ run: { id } }) => {
      setWalk(id);
      void refresh();
    },
  });
  return { start, walk };
}

/** The sample at one end of the morph, or how to choose it. */
function End({ latent, point, word }: { latent: Latent; point: number | undefined; word: string }) {
  const { file } = latent;
  return (
    <span className="end">
      {point === undefined ? (
        <span className="dim">{word}: click on a point</span>
      ) : (
        <>
          <Thumbnail latent={latent} point={point} size={56} />
          <span>
            {word}
            <br />
            <small>
              {labelOf(file, point)} row {file.rows[point]}
            </small>
          </span>
        </>
      )}
    </span>
  );
}

/** A walk while it is decoded, then its strip and animation, and its sounds where samples are sounds. */
function Walk({ id }: { id: string }) {
  const { run, artifacts, error, again } = useRun(id);
  if (!run) return error ? <Fault error={error} again={again} /> : null;
  const url = (name: string) => {
    const file = artifacts.find((each) => each.name === name);
    return file && client.artifactUrl(id, file.id);
  };
  const [strip, moving] = [url('interpolation.png'), url('interpolation.webp')];
  const sounds: Artifact[] = artifacts.filter(({ mime }) => mime.startsWith('audio/'));
  if (run.status !== 'succeeded')
    return (
      <p className="line start">
        <Status status={run.status} reason={run.statusReason} />
        <Progress run={run} />
        {run.statusDetail && <span className="dim">{run.statusDetail}</span>}
      </p>
    );
  return (
    <>
      <div className="pictures">
        {strip && (
          <figure className="strip">
            <Picture url={strip} alt="Decoded points on the way" />
          </figure>
        )}
        {moving && (
          <figure>
            <Picture className="moving" url={moving} alt="The way as an animation" />
          </figure>
        )}
      </div>
      <SoundList run={run} sounds={sounds} />
      <p>
        <a href={link(`runs/${id}`)}>The run</a>
      </p>
    </>
  );
}
