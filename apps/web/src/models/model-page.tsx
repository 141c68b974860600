import { sampleText, type Model, type ModelManifest } from '#libs/contracts';
import { client, useLive } from '../data/queries.js';
import { versionsOf } from '../data/versions.js';
import { link } from '../route.js';
import { NextLinks } from '../run/next.js';
import { RunsByKind } from '../runs/by-kind.js';
import { Panel } from '../ui/panel.js';
import { Empty, Loaded } from '../ui/states.js';
import { Ago } from '../ui/time.js';
import { useTitle } from '../ui/title.js';
import { DeleteVersion } from './models-page.js';

/** A model that was trained elsewhere: its versions, each with what is known of it and what began with it. */
export function ModelPage({ name }: { name: string }) {
  useTitle(name);
  const versions = useLive(['model', name], () => versionsOf(name, (page) => client.models(page)));
  return (
    <>
      <p className="crumbs">
        <a href={link('models')}>Models</a>
      </p>
      <h1>{name}</h1>
      <Loaded query={versions} lines={8}>
        {(found) =>
          found.length === 0 ? (
            <Empty title="There is no model of this name.">
              <a href={link('models')}>All models</a>
            </Empty>
          ) : (
            found.map((version) => <Version key={version.digest} version={version} />)
          )
        }
      </Loaded>
    </>
  );
}

function Version({ version: { name, digest, manifest, runId, createdAt } }: { version: Model }) {
  return (
    <Panel title={`${name}@${digest.slice(0, 12)}`} aside={<DeleteVersion name={name} digest={digest} />}>
      <p className="detail">
        <a href={link(`runs/${runId}`)}>Taken in</a> <Ago at={createdAt} />
      </p>
      <Known manifest={manifest} />
      <h3>Used by</h3>
      <RunsByKind filter={{ parent: runId }} />
      <h3>Begin with it</h3>
      <NextLinks kind="import-model" of={runId} />
    </Panel>
  );
}

function Known({ manifest: { encoder, sample, parameters, layers } }: { manifest: ModelManifest }) {
  const { normalisation } = encoder;
  const facts = [
    ...(layers
      ? [['Layers', layers.map(({ name }) => name).join(', ')]]
      : [
          ['Network', `${encoder.name}${encoder.stem ? `, stem ${encoder.stem}` : ''}`],
          ['Width', encoder.width.toLocaleString('en')],
        ]),
    ['Made for', sampleText(sample)],
    ['Parameters', parameters.toLocaleString('en')],
    [
      'Its input in [0, 1] is',
      normalisation
        ? `normalised by mean ${normalisation.mean.join(', ')} and deviation ${normalisation.std.join(', ')}`
        : 'taken as it is',
    ],
  ] as const;
  return (
    <dl className="facts">
      {facts.map(([word, fact]) => (
        <div key={word}>
          <dt>{word}</dt>
          <dd>{fact}</dd>
        </div>
      ))}
    </dl>
  );
}
