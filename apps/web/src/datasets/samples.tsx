/** Samples of a source that was only looked at, class by class. */
import type { Artifact, DatasetPreview, Run } from '#libs/contracts';
import { Fragment } from 'react';
import { client, useReport } from '../data/queries.js';
import { MaskViewer } from '../run/mask-viewer.js';
import { SoundList } from '../sounds/sound-list.js';
import { Panel } from '../ui/panel.js';
import { Picture } from '../ui/picture.js';
import { Loaded } from '../ui/states.js';

const INDEX = 'preview.json';
/** What pictures of samples have below the images, and the pixels between. */
const [MASK, GAP] = [['Mask'], 2];

/** Whether a file is one of those that are shown here. */
export const isOfPreview = ({ name }: Pick<Artifact, 'name'>): boolean =>
  /^preview(-[\d-]+)?\.(png|wav|json)$/.test(name);

export function Samples({ run, artifacts }: { run: Pick<Run, 'id'>; artifacts: readonly Artifact[] }) {
  const index = artifacts.findLast(({ name }) => name === INDEX);
  return index && <Groups run={run} artifacts={artifacts} url={client.artifactUrl(run.id, index.id)} />;
}

function Groups({ run, artifacts, url }: { run: Pick<Run, 'id'>; artifacts: readonly Artifact[]; url: string }) {
  const preview = useReport<DatasetPreview>(url);
  return (
    <Panel title="Samples">
      <Loaded query={preview} lines={4}>
        {({ groups, masks }) => (
          <>
            {masks && (
              <p className="legends">
                {masks.map(({ name, colour }) => (
                  <span key={name} className="legend">
                    <i style={{ background: colour }} />
                    {name}
                  </span>
                ))}
              </p>
            )}
            {groups.map(({ name, files }) => (
              <Group
                key={name}
                run={run}
                name={name}
                masks={masks}
                files={files.flatMap((each) => artifacts.findLast((artifact) => artifact.name === each) ?? [])}
              />
            ))}
          </>
        )}
      </Loaded>
    </Panel>
  );
}

function Group({
  run,
  name,
  masks,
  files,
}: {
  run: Pick<Run, 'id'>;
  name: string;
  masks: DatasetPreview['masks'];
  files: readonly Artifact[];
}) {
  const what = name === '' ? 'Samples' : `Samples of ${name}`;
  return (
    <section className="samples" aria-label={what}>
      {name !== '' && <h3>{name}</h3>}
      {files
        .filter(({ mime }) => mime.startsWith('image/'))
        .map(({ id }) => {
          const url = client.artifactUrl(run.id, id);
          return (
            <Fragment key={id}>
              <Picture url={url} alt={masks ? `${what}, each over itself under its mask` : what} />
              {masks && <MaskViewer url={url} classes={masks} layers={MASK} gap={GAP} name={what} />}
            </Fragment>
          );
        })}
      <SoundList run={run} sounds={files.filter(({ mime }) => mime.startsWith('audio/'))} />
    </section>
  );
}
