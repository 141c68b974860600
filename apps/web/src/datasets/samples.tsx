/** Samples of a source that was only looked at, class by class. */
import type { Artifact, DatasetPreview, Run } from '#libs/contracts';
import { client, useReport } from '../data/queries.js';
import { SoundList } from '../sounds/sound-list.js';
import { Panel } from '../ui/panel.js';
import { Loaded } from '../ui/states.js';

const INDEX = 'preview.json';

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
                masked={masks !== undefined}
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
  masked,
  files,
}: {
  run: Pick<Run, 'id'>;
  name: string;
  masked: boolean;
  files: readonly Artifact[];
}) {
  const what = name === '' ? 'Samples' : `Samples of ${name}`;
  return (
    <section className="samples" aria-label={what}>
      {name !== '' && <h3>{name}</h3>}
      {files
        .filter(({ mime }) => mime.startsWith('image/'))
        .map(({ id }) => (
          <img
            key={id}
            src={client.artifactUrl(run.id, id)}
            alt={masked ? `${what}, each over itself under its mask` : what}
            loading="lazy"
          />
        ))}
      <SoundList run={run} sounds={files.filter(({ mime }) => mime.startsWith('audio/'))} />
    </section>
  );
}
