import {
  augmentationName,
  bytes,
  duration,
  isTerminal,
  shortNumber,
  type Artifact,
  type Finetune,
  type RunDetail,
  type RunEvent,
} from '#libs/contracts';
import { lazy, Suspense, useState } from 'react';
import { stringify } from 'yaml';
import { CurveChart, CurveControls, settingsFrom, settingsTo } from './chart.js';
import { client, useLineage, useLive, useRun, type RunState } from './data.js';
import { SoundList } from './sound-player.js';
import { link, useRoute } from './route.js';
import { grouped, stepsOfEpoch, takeovers } from './series.js';
import { requestOf } from './submission.js';
import {
  Ago,
  Bands,
  Choice,
  colourOf,
  Copy,
  Empty,
  Fault,
  Loaded,
  nameOf,
  Panel,
  Progress,
  RunActions,
  RunLink,
  save,
  Skeleton,
  Status,
  Table,
  Tabs,
} from './ui.js';

const LatentMap = lazy(() => import('./map.js').then(({ LatentMap: map }) => ({ default: map })));

type Tab = 'curves' | 'files' | 'events' | 'log' | 'spec';

/** A run as it goes: its curves, what it wrote, what happened to it, where it comes from. */
export function RunPage({ id }: { id: string }) {
  const { query, change } = useRoute();
  const state = useRun(id);
  const { run, curves, events, log, artifacts } = state;
  if (!run) return state.error ? <Fault error={state.error} again={state.again} /> : <Skeleton lines={8} />;
  const results = artifacts.filter(
    ({ mime, kind }) => mime.startsWith('image/') || mime.startsWith('audio/') || kind === 'embedding',
  );
  const drawn = [...curves.values()].some(({ steps }) => steps.length > 1);
  const usual = !state.loaded || drawn || !isTerminal(run.status) ? 'curves' : 'files';
  const tab = (query['tab'] ?? usual) as Tab;
  const attempt = run.attempts.at(-1);
  return (
    <>
      <p className="crumbs">
        <a href={link('runs')}>Runs</a> / <a href={link('runs', { kind: run.kind })}>{run.kind}</a>
      </p>
      <div className="title">
        <h1>{nameOf(run)}</h1>
        <Status status={run.status} reason={run.statusReason} />
        {state.live && (
          <span className="live" title="What you see comes as it happens.">
            live
          </span>
        )}
        <RunActions run={run} onDone={state.again} />
      </div>
      {run.statusDetail && run.status !== 'succeeded' && (
        <p className={['failed', 'timed_out', 'upstream_failed'].includes(run.status) ? 'detail bad' : 'detail'}>
          {run.statusDetail}
        </p>
      )}
      {state.error !== undefined && <Fault error={state.error} again={state.again} />}
      <div className="columns run">
        <div>
          {!isTerminal(run.status) && (
            <Panel>
              <Progress run={run} attempt={attempt} />
            </Panel>
          )}
          <Results run={run} />
          <Shown
            run={run}
            artifacts={results}
            segmentation={artifacts.findLast(({ name }) => name === 'segmentation.json')}
          />
          <Tabs
            label="About this run"
            value={tab}
            onChange={(next) => change({ tab: next === usual ? '' : next })}
            tabs={[
              ['curves', 'Curves'],
              ['files', `Files ${artifacts.length || ''}`],
              ['events', `Events ${events.length || ''}`],
              ['log', `Log ${log.length || ''}`],
              ['spec', 'Spec'],
            ]}
          />
          {tab === 'curves' ? (
            <Curves state={state} run={run} />
          ) : tab === 'files' ? (
            <Files run={run} artifacts={artifacts} />
          ) : tab === 'events' ? (
            <Events events={events} />
          ) : tab === 'log' ? (
            <Log log={log} name={nameOf(run)} />
          ) : (
            <Spec run={run} />
          )}
        </div>
        <aside>
          <Facts run={run} />
          <Lineage run={run} />
          <Attempts run={run} />
        </aside>
      </div>
    </>
  );
}

function Curves({ state: { curves, version, loaded }, run }: { state: RunState; run: RunDetail }) {
  const { query, change } = useRoute();
  const perEpoch = stepsOfEpoch(run);
  const asked = settingsFrom(query);
  const settings = asked.axis === 'epoch' && perEpoch === undefined ? { ...asked, axis: 'step' as const } : asked;
  const marks = takeovers(run.attempts);
  const drawn = [...curves].filter(([, { steps }]) => steps.length > 1).map(([key]) => key);
  const single = [...curves].filter(([key, { steps }]) => steps.length === 1 && run.result?.metrics[key] === undefined);
  if (!loaded) return <Skeleton />;
  if (drawn.length === 0 && single.length === 0)
    return run.result ? null : (
      <Panel>
        <Empty title={isTerminal(run.status) ? 'This run has left no curves.' : 'No curves yet.'}>
          <p>They appear as soon as it trains.</p>
        </Empty>
      </Panel>
    );
  return (
    <Panel>
      {drawn.length > 0 && (
        <CurveControls
          settings={settings}
          epochs={perEpoch !== undefined}
          onChange={(next) => change(settingsTo(next))}
        />
      )}
      {grouped(drawn).map(([group, keys], g) => (
        <section key={group} className="group">
          <h2>{group === 'Training' && keys.length > 2 ? 'Loss and its terms' : group}</h2>
          {group === 'Collapse' && (
            <CollapseMeter
              spread={curves.get('eval/feature_spread')?.values.at(-1)}
              limit={run.spec.kind === 'pretrain' ? run.spec.collapseBelow : null}
              rank={curves.get('eval/rank')?.values.at(-1)}
            />
          )}
          <div className="charts">
            {keys.map((key, i) => (
              <CurveChart
                key={key}
                title={key}
                lines={[{ label: key, colour: colourOf(g + i), series: curves.get(key)! }]}
                settings={key === 'train/learning_rate' ? { ...settings, smoothing: 0 } : settings}
                marks={marks}
                perEpoch={perEpoch}
                version={version}
                group={run.id}
              />
            ))}
          </div>
        </section>
      ))}
      {single.length > 0 && (
        <Table
          caption="Single values"
          empty=""
          head={['metric', 'value']}
          keys={single.map(([key]) => key)}
          rows={single.map(([key, { values }]) => [key, shortNumber(values[0]!)])}
        />
      )}
    </Panel>
  );
}

/** 1: features are spread evenly over the sphere; 0: all the same. */
function CollapseMeter({
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
        <b>{spread < low ? 'Collapsed' : spread < 0.35 ? 'Narrow' : 'Healthy'}</b>: the features’ spread is{' '}
        {spread.toFixed(2)} (1: even over the sphere, 0: one point)
        {rank !== undefined && <>, their effective rank {rank.toFixed(1)}</>}.
        {limit !== null && <> The run ends below {limit}.</>}
      </p>
    </div>
  );
}

function Results({ run }: { run: RunDetail }) {
  const metrics = Object.entries(run.result?.metrics ?? {}).filter(([key]) => !/^(train|pca|data)\//.test(key));
  if (metrics.length === 0) return null;
  return (
    <Panel title="Results">
      <dl className="numbers">
        {metrics.map(([key, value]) => (
          <div key={key}>
            <dt>{key}</dt>
            <dd>{shortNumber(value)}</dd>
          </div>
        ))}
      </dl>
    </Panel>
  );
}

/** What can be looked at or listened to. */
function Shown({
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
  const last = [...new Map(images.map((each) => [each.name, each])).values()];
  return (
    <>
      {views && (
        <Panel title="What the network sees">
          <div className="pictures">
            <figure className="views">
              <Bands
                url={client.artifactUrl(run.id, views.id)}
                words={['Samples', 'One view', 'Another view']}
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
            The network learns that the two below each other are the same thing.
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
              <Picture key={file.name} versions={images.filter(({ name }) => name === file.name)} run={run} />
            ))}
          </div>
          {segmentation && <PixelClasses url={client.artifactUrl(run.id, segmentation.id)} />}
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

interface PixelReport {
  split: string;
  classes: { name: string; colour?: string; pixels: number; iou: number | null; dice: number | null }[];
}

/** What the colours of the overlays mean, and how well each class is found. */
function PixelClasses({ url }: { url: string }) {
  const report = useLive(
    ['segmentation', url],
    async () => {
      const answer = await fetch(url);
      if (!answer.ok) throw new Error(`expected the scores by class, got HTTP ${answer.status}`);
      return (await answer.json()) as PixelReport;
    },
    { live: false },
  );
  const percent = (value: number | null) => (value === null ? '–' : `${(100 * value).toFixed(1)} %`);
  return (
    <Loaded query={report} lines={2}>
      {({ split, classes }) => (
        <Table
          caption={`Classes of pixels in the ${split} split`}
          empty="No classes."
          keys={classes.map(({ name }) => name)}
          head={['class', 'pixels', 'IoU', 'Dice']}
          rows={classes.map(({ name, colour, pixels, iou, dice }) => [
            <span className="legend">
              {colour && <i style={{ background: colour }} />}
              {name}
            </span>,
            pixels.toLocaleString('en'),
            percent(iou),
            percent(dice),
          ])}
        />
      )}
    </Loaded>
  );
}

/** A picture with a slider over the steps at which it was made. */
function Picture({ versions, run }: { versions: Artifact[]; run: RunDetail }) {
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
        <a href={client.artifactUrl(run.id, file.id)}>
          <img
            src={client.artifactUrl(run.id, file.id)}
            alt={words[file.name] ?? file.name}
            loading="lazy"
            className={file.mime === 'image/webp' ? 'moving' : ''}
          />
        </a>
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

const Files = ({ run, artifacts }: { run: RunDetail; artifacts: readonly Artifact[] }) => (
  <Panel>
    <Table
      caption="Files"
      empty="No files yet."
      keys={artifacts.map(({ id }) => id)}
      head={['name', 'kind', 'step', 'size', 'sha256', 'written']}
      rows={artifacts.map((file) => [
        <a href={client.artifactUrl(run.id, file.id)} download={file.name}>
          {file.name}
        </a>,
        file.kind,
        file.step ?? '–',
        bytes(file.sizeBytes),
        <span className="line start">
          <code title={file.sha256}>{file.sha256.slice(0, 12)}…</code>
          <Copy text={file.sha256} />
        </span>,
        <Ago at={file.createdAt} />,
      ])}
    />
  </Panel>
);

const Events = ({ events }: { events: readonly RunEvent[] }) => (
  <Panel>
    {events.length === 0 ? (
      <Empty title="Nothing has happened yet." />
    ) : (
      <ol className="events">
        {events.map((event) => (
          <li key={event.id}>
            <time dateTime={event.at} title={event.at}>
              {new Date(event.at).toLocaleTimeString()}
            </time>
            <div>
              <b>{event.type.replaceAll('_', ' ')}</b>
              {event.attempt > 0 && <span className="dim"> attempt {event.attempt}</span>}
              <span className="dim">
                {' '}
                {Object.entries(event.data)
                  .filter(([, value]) => value !== null && value !== '')
                  .map(
                    ([key, value]) =>
                      `${key} ${typeof value === 'object' ? JSON.stringify(value) : String(value as string | number)}`,
                  )
                  .join(' · ')}
              </span>
            </div>
          </li>
        ))}
      </ol>
    )}
  </Panel>
);

function Log({ log, name }: { log: RunState['log']; name: string }) {
  const [least, setLeast] = useState<'info' | 'warn' | 'error'>('info');
  const [search, setSearch] = useState('');
  const levels = ['info', 'warn', 'error'] as const;
  const lines = log.filter(
    ({ level, message }) =>
      levels.indexOf(level) >= levels.indexOf(least) && message.toLowerCase().includes(search.toLowerCase()),
  );
  return (
    <Panel>
      <div className="controls">
        <Choice
          label="Level"
          value={least}
          onChange={setLeast}
          options={[
            ['info', 'all'],
            ['warn', 'warnings'],
            ['error', 'errors'],
          ]}
        />
        <label>
          Search <input type="search" value={search} onChange={({ target }) => setSearch(target.value)} />
        </label>
        <button
          className="quiet"
          onClick={() =>
            save(
              `${name}.log`,
              log.map(({ at, level, attempt, message }) => `${at} ${level} [${attempt}] ${message}\n`).join(''),
            )
          }
        >
          Download
        </button>
      </div>
      {lines.length === 0 ? (
        <Empty title={log.length === 0 ? 'The log is empty so far.' : 'No line is like that.'} />
      ) : (
        <div className="log" role="log" tabIndex={0} aria-label="Log">
          {lines.map((line) => (
            <div key={line.id} className={line.level}>
              <time>{new Date(line.at).toLocaleTimeString()}</time> {line.message}
            </div>
          ))}
        </div>
      )}
    </Panel>
  );
}

function Spec({ run }: { run: RunDetail }) {
  const text = stringify(requestOf(run));
  return (
    <Panel aside={null}>
      <div className="controls">
        <Copy text={text} label="Copy YAML" />
        <button
          className="quiet"
          onClick={() => save(`${nameOf(run).replaceAll(' ', '-')}.yaml`, text, 'application/yaml')}
        >
          Download
        </button>
        <a href={link('new', { from: run.id })}>Edit as a new run</a>
      </div>
      <pre tabIndex={0} aria-label="Spec">
        {text}
      </pre>
    </Panel>
  );
}

/** What of the network a finetuning trains, in words. */
const tunedText = ({ from, fromHeadLayer, task }: Pick<Finetune, 'from' | 'fromHeadLayer' | 'task'>): string =>
  'the whole ' +
  `network${task === 'segmentation' ? ', with a decoder of pixels on top' : fromHeadLayer > 0 ? ` is tuned from head layer ${fromHeadLayer}: the classifier sits on it, and the encoder below is tuned too` : ', with a classifier on the encoder'}${from === null ? ', from scratch' : ''}`;

function Facts({ run }: { run: RunDetail }) {
  const reproduce = `loom --url ${location.origin} reproduce ${run.id}`;
  const command =
    `loom --url ${location.origin} submit /dev/stdin ` +
    `<<'END'\n${JSON.stringify({ ...requestOf(run), onDuplicate: 'replicate' })}\nEND`;
  return (
    <Panel title="About">
      <dl className="facts">
        <dt>Kind</dt>
        <dd>{run.kind}</dd>
        {'dataset' in run.spec && (
          <>
            <dt>Dataset</dt>
            <dd>
              {run.spec.dataset.split('@')[0]} <code className="dim">{run.spec.dataset.split('@')[1]}</code>
            </dd>
          </>
        )}
        {run.spec.kind === 'finetune' && (
          <>
            <dt>Tuned</dt>
            <dd>{tunedText(run.spec)}</dd>
          </>
        )}
        <dt>Submitted</dt>
        <dd>
          <Ago at={run.createdAt} />
        </dd>
        {run.startedAt && (
          <>
            <dt>Took</dt>
            <dd>
              {run.finishedAt ? (
                duration((Date.parse(run.finishedAt) - Date.parse(run.startedAt)) / 1000)
              ) : (
                <>
                  started <Ago at={run.startedAt} />
                </>
              )}
            </dd>
          </>
        )}
        <dt>Steps</dt>
        <dd>
          {run.step.toLocaleString('en')}
          {run.totalSteps !== null && ` of ${run.totalSteps.toLocaleString('en')}`}
        </dd>
        <dt>Worker</dt>
        <dd>{run.workerId ?? '–'}</dd>
        <dt>Priority</dt>
        <dd>{run.priority}</dd>
        {Object.keys(run.requires.labels).length > 0 && (
          <>
            <dt>Needs</dt>
            <dd>
              {Object.entries(run.requires.labels)
                .map((label) => label.join('='))
                .join(', ')}
            </dd>
          </>
        )}
        {run.tags.length > 0 && (
          <>
            <dt>Tags</dt>
            <dd>
              {run.tags.map((tag) => (
                <a key={tag} className="tag" href={link('runs', { tag })}>
                  {tag}
                </a>
              ))}
            </dd>
          </>
        )}
        <dt>Digest</dt>
        <dd>
          <code title={run.digest}>{run.digest.slice(0, 12)}…</code> <Copy text={run.digest} />
        </dd>
      </dl>
      <details className="reproduce">
        <summary>Reproduce</summary>
        <p className="dim">Trains it and all that it was made from once more, and compares every last value:</p>
        <pre tabIndex={0} aria-label="Command that reproduces">
          {reproduce}
        </pre>
        <Copy text={reproduce} label="Copy the command" />
        <p className="dim">Or only trains the same again as a new run:</p>
        <pre tabIndex={0} aria-label="Command that submits">
          {command}
        </pre>
        <Copy text={command} label="Copy the command" />
      </details>
    </Panel>
  );
}

function Lineage({ run }: { run: RunDetail }) {
  const { data } = useLineage(run);
  if (!data || (data.parents.length === 0 && data.children.length === 0 && !('dataset' in run.spec))) return null;
  const row = (each: { id: string; name: string | null; kind: RunDetail['kind']; status: string }) => (
    <li key={each.id}>
      <RunLink run={each} /> <Status status={each.status} />
    </li>
  );
  return (
    <Panel title="Lineage">
      <ol className="lineage">
        {'dataset' in run.spec && (
          <li>
            <a href={link('machines')}>{run.spec.dataset.split('@')[0]}</a> <span className="dim">dataset</span>
          </li>
        )}
        {data.parents.map(row)}
        <li className="self">
          <b>{nameOf(run)}</b>
        </li>
        {data.children.length > 0 && (
          <li className="children">
            <ul>{data.children.slice(0, 12).map(row)}</ul>
            {(data.children.length > 12 || data.more) && (
              <a href={link('runs', { parent: run.id })}>All that build on it</a>
            )}
          </li>
        )}
      </ol>
    </Panel>
  );
}

function Attempts({ run }: { run: RunDetail }) {
  if (run.attempts.length === 0) return null;
  return (
    <Panel title={run.attempts.length === 1 ? 'Attempt' : 'Attempts'}>
      <ol className="attempts">
        {run.attempts.map((each) => (
          <li key={each.attempt}>
            <b>{each.attempt}</b>
            <div>
              {each.outcome?.replaceAll('_', ' ') ?? 'goes on'}
              {each.reason && ` (${each.reason.replaceAll('_', ' ')})`}{' '}
              <span className="dim">
                on {each.workerId}
                {each.gpu && `, GPU ${each.gpu.slice(0, 12)}`}
                {each.resumedFromStep > 0 && `, from step ${each.resumedFromStep}`},{' '}
                {each.endedAt ? (
                  duration((Date.parse(each.endedAt) - Date.parse(each.startedAt)) / 1000)
                ) : (
                  <Ago at={each.startedAt} />
                )}
              </span>
              {each.detail && <div className="dim">{each.detail}</div>}
            </div>
          </li>
        ))}
      </ol>
    </Panel>
  );
}
