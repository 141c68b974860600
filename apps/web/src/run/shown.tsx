import { augmentationName, runLabel, viewCount, viewsName, type Artifact, type RunDetail } from '#libs/contracts';
import { lazy, Suspense, useState } from 'react';
import { client } from '../data/queries.js';
import { link } from '../route.js';
import { SoundList } from '../sounds/sound-list.js';
import { Bands } from '../ui/bands.js';
import { Panel } from '../ui/panel.js';
import { Picture } from '../ui/picture.js';
import { Skeleton } from '../ui/states.js';
import { PixelClasses } from './pixel-classes.js';

const LatentMap = lazy(() => import('../map/latent-map.js').then(({ LatentMap: map }) => ({ default: map })));

/** How many views of each sample a run learns from. */
const viewsSeen = ({ spec }: RunDetail): number =>
  spec.kind === 'pretrain' && typeof spec.views === 'object' ? viewCount(spec.views) : 2;

/** Pictures, maps and sounds of a run. */
export function Shown({
  run,
  artifacts,
  segmentation,
}: {
  run: RunDetail;
  artifacts: Artifact[];
  segmentation: Artifact | undefined;
}) {
  const maps = artifacts.find(({ name }) => name === 'maps.json');
  const images = artifacts.filter(
    ({ mime, name }) => mime.startsWith('image/') && !/^atlas(-\d+)?\.webp$/.test(name) && name !== 'views.png',
  );
  const views = artifacts.findLast(({ name }) => name === 'views.png');
  const sounds = artifacts.filter(({ mime }) => mime.startsWith('audio/'));
  const urlOf = (file: Artifact | undefined) => file && client.artifactUrl(run.id, file.id);
  const last = [...new Map(images.map((each) => [each.name, each])).values()];
  return (
    <>
      {views && (
        <Panel title="What the network sees">
          <div className="pictures">
            <figure className="views">
              <Bands
                url={client.artifactUrl(run.id, views.id)}
                words={['Samples', 'One view', ...new Array<string>(viewsSeen(run) - 1).fill('Another view')]}
                alt="Samples over two random views of each, as the network gets them"
              />
            </figure>
          </div>
          <p className="dim">
            {run.spec.kind === 'pretrain' && run.spec.augmentation && (
              <>
                Each sample, and two random views of it: <b>{augmentationName(run.spec.augmentation)}</b>.{' '}
              </>
            )}
            {run.spec.kind === 'pretrain' && typeof run.spec.views === 'object' && (
              <>
                Each sample, and random views of it, each made in its own way: <b>{viewsName(run.spec.views)}</b>.{' '}
              </>
            )}
            The network learns that those below each other are the same thing.
          </p>
        </Panel>
      )}
      {maps && (
        <Panel title="Latent map" aside={<a href={link(`maps/${run.id}`)}>Open large</a>}>
          <Suspense fallback={<Skeleton />}>
            <LatentMap id={run.id} height={420} />
          </Suspense>
        </Panel>
      )}
      {last.length > 0 && (
        <Panel title={run.kind === 'interpolate' ? 'Through the latent space' : 'Pictures'}>
          <div className="pictures">
            {last.map((file) => (
              <Pictured key={file.name} versions={images.filter(({ name }) => name === file.name)} run={run} />
            ))}
          </div>
          {segmentation && (
            <PixelClasses
              url={client.artifactUrl(run.id, segmentation.id)}
              picture={urlOf(images.findLast(({ name }) => name === 'segmentation.png'))}
              name={runLabel(run)}
            />
          )}
        </Panel>
      )}
      {sounds.length > 0 && (
        <Panel title="Sounds">
          <SoundList run={run} sounds={sounds} />
        </Panel>
      )}
    </>
  );
}

/** A picture with a slider over the steps at which it was made. */
function Pictured({ versions, run }: { versions: Artifact[]; run: RunDetail }) {
  const [at, setAt] = useState<number>();
  const place = Math.min(at ?? versions.length - 1, versions.length - 1);
  const file = versions[place]!;
  const words: Record<string, string> = {
    'reconstructions.png': 'Originals over their reconstructions',
    'interpolation.png': 'Decoded points on the way',
    'interpolation.webp': 'The way as an animation',
    'samples.png': 'Drawn samples over the nearest of the training set',
    'segmentation.png': 'Images, masks, predictions',
  };
  return (
    <figure className={file.name === 'interpolation.png' ? 'strip' : ''}>
      {file.name === 'segmentation.png' ? (
        <Bands
          url={client.artifactUrl(run.id, file.id)}
          words={['Image', 'Mask', 'Predicted']}
          alt={words[file.name]!}
        />
      ) : (
        <Picture
          url={client.artifactUrl(run.id, file.id)}
          alt={words[file.name] ?? file.name}
          name={`${runLabel(run)}-${file.name}`}
          className={file.mime === 'image/webp' ? 'moving' : ''}
        />
      )}
      <figcaption>
        {words[file.name] ?? file.name}
        {file.step !== null && <span className="dim"> · step {file.step}</span>}
      </figcaption>
      {versions.length > 1 && (
        <input
          type="range"
          min={0}
          max={versions.length - 1}
          value={place}
          onChange={({ target }) => setAt(Number(target.value))}
          aria-label={`${file.name} over the steps`}
        />
      )}
    </figure>
  );
}
