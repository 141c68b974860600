import { sampleText, SPLITS, valueText, type Dataset } from '#libs/contracts';
import { client, useLive } from '../data/queries.js';
import { link } from '../route.js';
import { Panel, Table } from '../ui/panel.js';
import { Empty, Loaded } from '../ui/states.js';
import { Ago } from '../ui/time.js';
import { useTitle } from '../ui/title.js';
import { DeleteVersion } from './datasets-page.js';

/** Pages of versions that are looked through for those of one name. */
const PAGE = 500;
const MOST_PAGES = 20;

/** All versions of a dataset, the newest first. */
async function versionsOf(name: string): Promise<Dataset[]> {
  const found: Dataset[] = [];
  let cursor: string | undefined;
  for (let page = 0; page < MOST_PAGES; page++) {
    const { items, nextCursor } = await client.datasets({ limit: PAGE, ...(cursor !== undefined && { cursor }) });
    found.push(...items.filter((item) => item.name === name));
    if (nextCursor === null) break;
    cursor = nextCursor;
  }
  return found;
}

/** A dataset: its versions, each with how many samples of each class there are and what it is used by. */
export function DatasetPage({ name }: { name: string }) {
  useTitle(name);
  const versions = useLive(['dataset', name], () => versionsOf(name));
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
      <Users version={version} />
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

/** How many runs of each kind are of this version. */
function Users({ version: { name, digest } }: { version: Dataset }) {
  // As the specs of runs name it.
  const where = `spec:dataset=${name}@${digest.slice(0, 12)}`;
  const groups = useLive(['users', name, digest], () => client.runGroups({ by: ['kind'], where: [where] }), {
    keep: true,
  });
  return (
    <Loaded query={groups} lines={1}>
      {({ groups: found }) =>
        found.length === 0 ? (
          <p className="dim">No run.</p>
        ) : (
          <ul className="plain">
            {found.map(({ by, runs }) => {
              const kind = valueText(by['kind'] ?? null);
              return (
                <li key={kind}>
                  <a href={link('runs', { where, kind })}>
                    {runs.toLocaleString('en')} {kind}
                  </a>
                </li>
              );
            })}
          </ul>
        )
      }
    </Loaded>
  );
}
