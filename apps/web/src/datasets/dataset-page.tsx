import { sampleText, SPLITS, type Dataset } from '#libs/contracts';
import { client, useLive } from '../data/queries.js';
import { versionsOf } from '../data/versions.js';
import { link } from '../route.js';
import { Panel, Table } from '../ui/panel.js';
import { Empty, Loaded } from '../ui/states.js';
import { Ago } from '../ui/time.js';
import { useTitle } from '../ui/title.js';
import { RunsByKind } from '../runs/by-kind.js';
import { DeleteVersion } from './datasets-page.js';

/** A dataset: its versions, each with how many samples of each class there are and what it is used by. */
export function DatasetPage({ name }: { name: string }) {
  useTitle(name);
  const versions = useLive(['dataset', name], () => versionsOf(name, (page) => client.datasets(page)));
  return (
    <>
      <p className="crumbs">
        <a href={link('datasets')}>Datasets</a>
      </p>
      <h1>{name}</h1>
      <Loaded query={versions} lines={8}>
        {(found) =>
          found.length === 0 ? (
            <Empty title="There is no dataset of this name.">
              <a href={link('datasets')}>All datasets</a>
            </Empty>
          ) : (
            found.map((version) => <Version key={version.digest} version={version} />)
          )
        }
      </Loaded>
    </>
  );
}

function Version({ version }: { version: Dataset }) {
  const { name, digest, manifest, runId, createdAt } = version;
  const short = `${name}@${digest.slice(0, 12)}`;
  return (
    <Panel title={short} aside={<DeleteVersion name={name} digest={digest} />}>
      <p className="detail">
        Each sample {sampleText(manifest.sample)}; <a href={link(`runs/${runId}`)}>prepared</a> <Ago at={createdAt} />
      </p>
      <Counts version={version} />
      <h3>Used by</h3>
      {/* As the specs of runs name it. */}
      <RunsByKind filter={{ where: [`spec:dataset=${short}`] }} />
    </Panel>
  );
}

/** Samples by class and split; where pixels have the classes, the run that prepared it knows how many there are. */
function Counts({ version: { name, manifest } }: { version: Dataset }) {
  const { classes, splits } = manifest;
  const present = SPLITS.filter((split) => splits[split] !== undefined);
  const perClass = splits.train.countPerClass !== undefined;
  return (
    <>
      <Table
        caption={`Samples of ${name} by class and split`}
        empty="No samples."
        head={['samples of', ...present]}
        rows={[
          ...(perClass
            ? classes.map((each, label) => [
                each,
                ...present.map((split) => (splits[split]!.countPerClass?.[label] ?? 0).toLocaleString('en')),
              ])
            : []),
          ['all', ...present.map((split) => splits[split]!.count.toLocaleString('en'))],
        ]}
      />
      {!perClass && classes.length > 0 && <p className="dim">Classes of pixels: {classes.join(', ')}.</p>}
    </>
  );
}
