import { isTerminal, shortNumber, type Artifact, type Run } from '#libs/contracts';
import { useMutation } from '@tanstack/react-query';
import { useEffect, useMemo, useRef, useState } from 'react';
import { client, refresh, useLive, useRun } from './data.js';
import { inside, momentsOf, nearestTo, normalised, onTheWay, readFeatures, type MapsFile } from './latent.js';
import { link, useRoute } from './route.js';
import { Scatter } from './scatter.js';
import { SoundList } from './sound-player.js';
import { Choice, colourOf, Empty, Fault, Loaded, nameOf, Panel, Progress, save, Status } from './ui.js';
import { csv } from './csv.js';

const NEIGHBOURS = 12;
const MOST_LISTED = 300;
const LARGEST_FEATURES = 96e6;
const MORPH_POINTS = 9;
/** How long points take from one checkpoint to the next. */
const MOVE_MS = 450;
const MAP_NAMES: Record<string, string> = { pca: 'PCA', tsne: 't-SNE', umap: 'UMAP' };

interface Latent {
  run: Run;
  file: MapsFile;
  atlas: readonly string[];
  features: { url: string; bytes: number } | undefined;
  metrics: Record<string, number>;
  name: string;
}

function useLatent(id: string | undefined, { keep = false } = {}) {
  return useLive(
    ['latent', id],
    async (): Promise<Latent> => {
      const run = await client.run(id!);
      const artifacts = new Map<string, { url: string; bytes: number }>();
      for await (const each of client.eachArtifact(id!))
        artifacts.set(each.name, { url: client.artifactUrl(id!, each.id), bytes: each.sizeBytes });
      const maps = artifacts.get('maps.json');
      if (!maps)
        throw new Error(
          `expected a run that has mapped a latent space, ${nameOf(run)} (${run.kind}) has no maps.json: ` +
            `${run.status === 'succeeded' ? 'choose one of kind embed' : `it is ${run.status}`}`,
        );
      const answer = await fetch(maps.url);
      if (!answer.ok) throw new Error(`expected the maps of ${nameOf(run)}, got HTTP ${answer.status}`);
      const file = (await answer.json()) as MapsFile;
      const atlas = Array.from(
        { length: Math.ceil(file.atlas.points.length / (file.atlas.perFile ?? Infinity)) || 1 },
        (_, i) => artifacts.get(i === 0 ? 'atlas.webp' : `atlas-${i}.webp`)?.url ?? '',
      );
      return {
        run,
        file,
        atlas,
        features: artifacts.get('embeddings.npy'),
        metrics: run.result?.metrics ?? {},
        name: nameOf(run),
      };
    },
    { live: false, keep, enabled: id !== undefined },
  );
}

/** What is looked at, shared by maps of the same samples. */
interface Focus {
  picked: number | undefined;
  selected: readonly number[];
}
const NOTHING: Focus = { picked: undefined, selected: [] };
type Colour = 'class' | 'prediction' | 'error';

/** The page: one map or two side by side, a run's checkpoints one after the other, and what was chosen in them. */
export function MapPage({ id }: { id: string }) {
  const { query, change } = useRoute();
  const other = query['with'] || undefined;
  const [first, second] = [useLatent(id), useLatent(other)];
  const others = useLive(['runs', 'embeds'], () => client.runs({ kind: ['embed'], status: ['succeeded'], limit: 200 }));
  const [focus, setFocus] = useState<Focus>(NOTHING);
  const [apart, setApart] = useState<Focus>(NOTHING);
  // Undefined while no morph is asked for.
  const [ends, setEnds] = useState<readonly number[]>();
  const then = useLatent(query['at'] || undefined, { keep: true });
  const look = (next: Focus) => {
    if (ends && next.picked !== undefined && next.picked !== focus.picked)
      setEnds(ends.length === 1 ? [...ends, next.picked] : [next.picked]);
    setFocus(next);
  };
  return (
    <>
      <p className="crumbs">
        <a href={link('maps')}>Latent maps</a> / <a href={link(`runs/${id}`)}>the run</a>
      </p>
      <Loaded query={first} lines={10}>
        {(latent) => {
          const same = second.data?.file.samplesDigest === latent.file.samplesDigest;
          const names = Object.keys(latent.file.maps);
          const map = names.includes(query['map'] ?? '') ? query['map']! : names.at(-1)!;
          const shown =
            query['at'] && then.data?.file.samplesDigest === latent.file.samplesDigest && map in then.data.file.maps
              ? then.data
              : latent;
          const colour = coloursOf(latent.file).some(([each]) => each === query['colour'])
            ? (query['colour'] as Colour)
            : 'class';
          return (
            <>
              <div className="title">
                <h1>{latent.name}</h1>
                <span className="dim">
                  {latent.file.rows.length.toLocaleString('en')} samples of the {latent.file.split} split of{' '}
                  {latent.file.dataset.split('@')[0]}, {latent.file.dimensions} features
                </span>
              </div>
              <div className="controls">
                <Choice
                  label="Map"
                  value={map}
                  onChange={(next) => change({ map: next })}
                  options={names.map((each) => [each, MAP_NAMES[each] ?? each] as const)}
                />
                <Choice
                  label="Coloured by"
                  value={colour}
                  onChange={(next) => change({ colour: next === 'class' ? '' : next })}
                  options={coloursOf(latent.file)}
                />
                <label>
                  Beside it{' '}
                  <select value={other ?? ''} onChange={({ target }) => change({ with: target.value })}>
                    <option value="">no other</option>
                    {others.data?.items
                      .filter((run) => run.id !== id)
                      .map((run) => (
                        <option key={run.id} value={run.id}>
                          {nameOf(run)}
                        </option>
                      ))}
                  </select>
                </label>
                <button
                  aria-pressed={ends !== undefined}
                  onClick={() => setEnds(ends ? undefined : focus.picked === undefined ? [] : [focus.picked])}
                >
                  Morph
                </button>
                {second.data && !same && (
                  <span className="dim">
                    They show other samples: what you choose in one is not marked in the other.
                  </span>
                )}
                {second.error && (
                  <span className="bad" role="alert">
                    {second.error.message}
                  </span>
                )}
              </div>
              <Checkpoints
                latent={latent}
                at={query['at'] || undefined}
                onChange={(next) => change({ at: next === id ? '' : next })}
              />
              {ends && <Morph latent={latent} ends={ends} onClose={() => setEnds(undefined)} />}
              <div className={second.data ? 'pair maps' : 'maps'}>
                <MapPanel
                  latent={shown}
                  frame={latent}
                  map={map}
                  colour={colour}
                  focus={focus}
                  ends={ends}
                  onFocus={look}
                  height={second.data ? 460 : 620}
                />
                {second.data && (
                  <MapPanel
                    latent={second.data}
                    frame={second.data}
                    colour={coloursOf(second.data.file).some(([each]) => each === colour) ? colour : 'class'}
                    map={map in second.data.file.maps ? map : Object.keys(second.data.file.maps).at(-1)!}
                    focus={same ? focus : apart}
                    ends={same ? ends : undefined}
                    onFocus={same ? look : setApart}
                    height={460}
                  />
                )}
              </div>
              <Neighbours
                latent={shown}
                some={focus.picked === undefined ? [] : [focus.picked]}
                title={(file) =>
                  `Nearest to ${labelOf(file, focus.picked!) || 'sample'} (row ${file.rows[focus.picked!]}) in ` +
                  'the space itself'
                }
                onPick={(picked) => look({ ...focus, picked })}
              />
              <Selection latent={shown} focus={focus} onFocus={look} />
              <Neighbours
                latent={shown}
                some={focus.selected}
                title={() =>
                  `Nearest to the middle of the ${focus.selected.length.toLocaleString('en')} chosen, of the others`
                }
                onPick={(picked) => look({ ...focus, picked })}
              />
            </>
          );
        }}
      </Loaded>
    </>
  );
}

/** A map on another page. */
export function LatentMap({ id, height }: { id: string; height: number }) {
  const latent = useLatent(id);
  const [focus, setFocus] = useState<Focus>(NOTHING);
  const [map, setMap] = useState<string>();
  return (
    <Loaded query={latent}>
      {(data) => {
        const names = Object.keys(data.file.maps);
        const shown = map ?? names.at(-1)!;
        return (
          <>
            <Choice
              label="Map"
              value={shown}
              onChange={setMap}
              options={names.map((each) => [each, MAP_NAMES[each] ?? each] as const)}
            />
            <MapView
              latent={data}
              frame={data}
              map={shown}
              colour="class"
              focus={focus}
              onFocus={setFocus}
              height={height}
            />
          </>
        );
      }}
    </Loaded>
  );
}

/** By what points can be coloured. */
const coloursOf = ({ labels, predictions }: MapsFile): [Colour, string][] => [
  ['class', 'Class'],
  ...(predictions ? ([['prediction', 'Prediction']] as [Colour, string][]) : []),
  ...(predictions && labels ? ([['error', 'Error']] as [Colour, string][]) : []),
];

/**
 * How the space came to be: the map after each checkpoint of the run that is mapped, all turned onto the one that is
 * looked at.
 */
function Checkpoints({
  latent: { run, file },
  at,
  onChange,
}: {
  latent: Latent;
  at: string | undefined;
  onChange: (id: string) => void;
}) {
  const spec = run.spec.kind === 'embed' ? run.spec : undefined;
  const state = useLive(
    ['checkpoints', run.id],
    async () => {
      const steps = new Set<number>();
      for await (const { kind, step } of client.eachArtifact(spec!.from))
        if (kind === 'checkpoint' && step !== null) steps.add(step);
      return momentsOf(spec!, (await client.runs({ kind: ['embed'], parent: spec!.from, limit: 500 })).items, [
        ...steps,
      ]);
    },
    { enabled: spec !== undefined, live: (moments) => moments.some(({ map }) => map && !isTerminal(map.status)) },
  );
  const start = useMutation({
    mutationFn: (steps: number[]) =>
      Promise.all(
        steps.map((step) =>
          client.submitRun({
            spec: { ...spec!, checkpoint: step, alignTo: run.id },
            name: `${run.name ?? 'map'}-at-${step}`.slice(-128).replace(/^[^A-Za-z0-9]+/, ''),
            tags: run.tags,
            priority: run.priority,
          }),
        ),
      ),
    onSettled: () => void refresh(),
  });
  const moments = state.data;
  if (!spec || !moments || moments.length < 2) return null;
  const mapped = moments
    .filter(({ map, step }) => map?.status === 'succeeded' || step === (spec.checkpoint ?? null))
    .map((moment) => (moment.step === (spec.checkpoint ?? null) ? { ...moment, map: run } : moment));
  const place = Math.max(
    0,
    mapped.findIndex(({ map }) => map!.id === (at ?? run.id)),
  );
  const lacking = moments
    .filter(({ step, map }) => step !== null && map === undefined && step !== (spec.checkpoint ?? null))
    .map(({ step }) => step!);
  const underWay = moments.filter(({ map }) => map && !isTerminal(map.status)).length;
  const word = (step: number | null) => (step === null ? 'at the end' : `after ${step.toLocaleString('en')} steps`);
  return (
    <div className="controls moments">
      {mapped.length > 1 && (
        <label>
          Checkpoint{' '}
          <input
            type="range"
            min={0}
            max={mapped.length - 1}
            value={place}
            aria-valuetext={word(mapped[place]!.step)}
            onChange={({ target }) => onChange(mapped[Number(target.value)]!.map!.id)}
          />{' '}
          <output>{word(mapped[place]!.step)}</output>
        </label>
      )}
      {underWay > 0 && (
        <span className="dim" role="status">
          {underWay} {underWay === 1 ? 'checkpoint is' : 'checkpoints are'} being mapped …
        </span>
      )}
      {lacking.length > 0 && (
        <button
          disabled={start.isPending}
          onClick={() => start.mutate(lacking)}
          title={`Runs of kind embed of ${file.rows.length} samples, turned onto this map`}
        >
          Map {lacking.length === 1 ? `the checkpoint of step ${lacking[0]}` : `${lacking.length} checkpoints`} too
        </button>
      )}
      {start.error && (
        <span className="bad" role="alert">
          {start.error.message}
        </span>
      )}
    </div>
  );
}

/** From one sample to another through the latent space of an autoencoder, decoded on the way. */
function Morph({ latent, ends, onClose }: { latent: Latent; ends: readonly number[]; onClose: () => void }) {
  const { file, run } = latent;
  const [chosen, choose] = useState<string>();
  const [walk, setWalk] = useState<string>();
  const autoencoders = useLive(['runs', 'autoencoders', file.dataset], async () =>
    (await client.runs({ kind: ['autoencode'], status: ['succeeded'], limit: 200 })).items.filter(
      ({ spec }) => 'dataset' in spec && spec.dataset === file.dataset,
    ),
  );
  const own = autoencoders.data?.find(({ id }) => run.spec.kind === 'embed' && id === run.spec.from);
  const from = chosen ?? own?.id ?? autoencoders.data?.[0]?.id;
  const start = useMutation({
    mutationFn: () =>
      client.submitRun({
        spec: {
          kind: 'interpolate',
          dataset: file.dataset,
          from: from!,
          between: { rows: [file.rows[ends[0]!]!, file.rows[ends[1]!]!] },
          points: MORPH_POINTS,
          samples: 0,
          split: file.split as 'train',
        },
        name: `morph-${file.rows[ends[0]!]}-to-${file.rows[ends[1]!]}`,
      }),
    onSuccess: ({ run: { id } }) => {
      setWalk(id);
      void refresh();
    },
  });
  const end = (place: number, word: string) => (
    <span className="end">
      {ends[place] === undefined ? (
        <span className="dim">{word}: click on a point</span>
      ) : (
        <>
          <Thumbnail latent={latent} point={ends[place]} size={56} />
          <span>
            {word}
            <br />
            <small>
              {labelOf(file, ends[place])} row {file.rows[ends[place]]}
            </small>
          </span>
        </>
      )}
    </span>
  );
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
              {end(0, 'From')}
              <span aria-hidden="true">→</span>
              {end(1, 'To')}
              <label>
                by{' '}
                <select value={from} onChange={({ target }) => choose(target.value)}>
                  {known.map((each) => (
                    <option key={each.id} value={each.id}>
                      {nameOf(each)}
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

/** A walk while it is decoded, and what came of it: a strip, and sounds where it is of sounds. */
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
            <img src={strip} alt="Decoded points on the way" />
          </figure>
        )}
        {moving && (
          <figure>
            <img className="moving" src={moving} alt="The way as an animation" />
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

function MapPanel(props: Parameters<typeof MapView>[0]) {
  const {
    latent: { metrics, name },
    map,
  } = props;
  const quality = (
    [
      ['trustworthiness', 'trustworthiness'],
      ['neighbours_kept', 'neighbours kept'],
      ['knn_purity', 'kNN purity'],
      ['disparity', 'disparity'],
    ] as const
  ).flatMap(([key, word]) => {
    const value = metrics[`map/${map}/${key}`];
    return value === undefined ? [] : [`${word} ${value.toFixed(2)}`];
  });
  return (
    <Panel
      title={`${MAP_NAMES[map] ?? map}: ${name}`}
      aside={
        <span className="dim" title="What this map is worth against the space itself">
          {quality.join(' · ')}
        </span>
      }
    >
      <MapView {...props} />
    </Panel>
  );
}

const rgb = (hex: string): [number, number, number] =>
  [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)) as [number, number, number];
const [RIGHT, WRONG, CHOSEN] = [rgb('#7a8694'), rgb('#d6455d'), [255, 140, 0, 255]] as const;

interface ViewProps {
  latent: Latent;
  /** The map whose extent is the window: one run's checkpoints are seen in the same. */
  frame: Latent;
  map: string;
  colour: Colour;
  focus: Focus;
  ends?: readonly number[] | undefined;
  height: number;
  onFocus: (focus: Focus) => void;
}

function MapView({ latent, frame, map, colour, focus, ends, onFocus, height }: ViewProps) {
  const { file } = latent;
  const box = useRef<HTMLDivElement>(null);
  const scatter = useRef<Scatter>(undefined);
  const [mode, setMode] = useState<'pan' | 'lasso'>('pan');
  const [trace, setTrace] = useState<[number, number][]>([]);
  const [hovered, setHovered] = useState<{ point: number; x: number; y: number }>();
  const [only, setOnly] = useState<number>();
  const [fault, setFault] = useState<string>();
  const points = useMemo(() => normalised(file.maps[map]!, frame.file.maps[map]), [file, frame, map]);
  const latest = useRef({ focus, onFocus });
  latest.current = { focus, onFocus };
  // What a point is shown as: its class, or what it is taken for.
  const kinds = colour === 'prediction' ? file.predictions : file.labels;
  const wrong = (i: number) => file.predictions?.[i] !== file.labels?.[i];

  const colours = useMemo(() => {
    const selected = new Set(focus.selected);
    const marked = new Set([...(ends ?? []), ...(focus.picked === undefined ? [] : [focus.picked])]);
    const table = file.classes.map((_, i) => rgb(colourOf(i)));
    const all = new Uint8Array(4 * file.rows.length);
    for (let i = 0; i < file.rows.length; i++) {
      const kind = kinds?.[i];
      const [r, g, b] =
        colour === 'error'
          ? wrong(i)
            ? WRONG
            : RIGHT
          : kind === undefined
            ? (table[0] ?? rgb(colourOf(0)))
            : table[kind]!;
      const faded = (selected.size > 0 && !selected.has(i)) || (only !== undefined && kind !== only);
      all.set(marked.has(i) ? CHOSEN : [r, g, b, faded ? 28 : colour === 'error' && !wrong(i) ? 90 : 205], 4 * i);
    }
    return all;
  }, [file, colour, focus.selected, focus.picked, ends, only]);

  useEffect(() => {
    try {
      const created = (scatter.current = new Scatter(box.current!, {
        points,
        colours,
        onHover: (point, x, y) => setHovered(point === undefined ? undefined : { point, x, y }),
        onPick: (picked) => latest.current.onFocus({ ...latest.current.focus, picked }),
      }));
      return () => {
        created.destroy();
        scatter.current = undefined;
      };
    } catch (error) {
      setFault(error instanceof Error ? error.message : String(error));
    }
  }, []);
  useEffect(() => scatter.current?.update({ colours }), [colours]);
  const before = useRef({ points, frame, map });
  useEffect(() => {
    const { points: from, frame: window, map: was } = before.current;
    before.current = { points, frame, map };
    if (from === points) return;
    if (
      window !== frame ||
      was !== map ||
      from.length !== points.length ||
      matchMedia('(prefers-reduced-motion: reduce)').matches
    ) {
      scatter.current?.update({ points });
      if (window !== frame || was !== map) scatter.current?.fit();
      return;
    }
    // From checkpoint to checkpoint each point is followed by the eye.
    let timer = 0;
    const started = performance.now();
    const move = (now: number) => {
      const part = Math.min(1, Math.max(0, (now - started) / MOVE_MS));
      scatter.current?.update({ points: part === 1 ? points : onTheWay(from, points, part * part * (3 - 2 * part)) });
      if (part < 1) timer = requestAnimationFrame(move);
    };
    timer = requestAnimationFrame(move);
    return () => {
      cancelAnimationFrame(timer);
      scatter.current?.update({ points });
    };
  }, [points, frame, map]);

  const at = ({ clientX, clientY }: { clientX: number; clientY: number }): [number, number] => {
    const { left, top } = box.current!.getBoundingClientRect();
    return [clientX - left, clientY - top];
  };
  const finish = () => {
    if (!scatter.current) return;
    const polygon = trace.map(([x, y]) => scatter.current!.unproject(x, y));
    setTrace([]);
    onFocus({ ...focus, selected: inside(points, polygon).filter((i) => only === undefined || kinds?.[i] === only) });
    setMode('pan');
  };
  if (fault)
    return (
      <Empty title="This browser draws no WebGL.">
        <p>
          {fault}. The files of the run hold the map as <code>maps.json</code> and <code>embeddings.parquet</code>.
        </p>
      </Empty>
    );
  const mistakes = colour === 'error' ? file.rows.reduce((sum, _, i) => sum + Number(wrong(i)), 0) : 0;
  const coloured =
    colour === 'error'
      ? `what was taken for another class: ${mistakes}`
      : `${file.classes.length} ${colour === 'prediction' ? 'predicted ' : ''}classes`;
  return (
    <div className="map">
      <div className="controls">
        <Choice
          label="What dragging does"
          value={mode}
          onChange={setMode}
          options={[
            ['pan', 'Move'],
            ['lasso', 'Lasso'],
          ]}
        />
        <span className="actions">
          <button onClick={() => scatter.current?.zoom(0.7)} aria-label="Nearer">
            +
          </button>
          <button onClick={() => scatter.current?.zoom(-0.7)} aria-label="Farther">
            −
          </button>
          <button onClick={() => scatter.current?.fit()}>Whole</button>
        </span>
        {focus.selected.length > 0 && (
          <button onClick={() => onFocus({ ...focus, selected: [] })}>
            Forget the {focus.selected.length.toLocaleString('en')} chosen
          </button>
        )}
      </div>
      <div className="canvas" style={{ height }}>
        <div
          ref={box}
          className="plot"
          role="img"
          aria-label={`${MAP_NAMES[map] ?? map} of ${file.rows.length} samples, coloured by ${coloured}`}
        />
        {mode === 'lasso' && (
          <svg
            className="lasso"
            onPointerDown={(event) => {
              event.currentTarget.setPointerCapture(event.pointerId);
              setTrace([at(event)]);
            }}
            onPointerMove={(event) => {
              if (trace.length) setTrace([...trace, at(event)]);
            }}
            onPointerUp={finish}
            onPointerCancel={() => setTrace([])}
          >
            {trace.length > 1 && <polygon points={trace.map((each) => each.join()).join(' ')} />}
          </svg>
        )}
        {hovered !== undefined && mode === 'pan' && (
          <div
            className="tooltip"
            style={{
              left: Math.min(hovered.x + 14, (box.current?.clientWidth ?? 300) - 120),
              top: Math.min(hovered.y + 14, height - 130),
            }}
          >
            <Thumbnail latent={latent} point={hovered.point} size={88} />
            <span>
              {labelOf(file, hovered.point)}
              {file.predictions && file.labels && wrong(hovered.point) && (
                <>
                  <br />
                  <span className="bad">taken for {file.classes[file.predictions[hovered.point]!]}</span>
                </>
              )}
              <br />
              <small>row {file.rows[hovered.point]}</small>
            </span>
          </div>
        )}
      </div>
      {file.predictions && colour !== 'class' && (
        <p className="dim">
          {file.predictedBy === 'classifier'
            ? 'What the run’s own classifier says of each sample'
            : 'What most of the nearest others in the space are'}
          {colour === 'error' && (
            <>
              : <b>{mistakes.toLocaleString('en')}</b> of {file.rows.length.toLocaleString('en')} are taken for another
              class than theirs
            </>
          )}
          .
        </p>
      )}
      {colour === 'error' ? (
        <div className="legends">
          <span className="legend">
            <i style={{ background: '#d6455d' }} />
            wrong
          </span>
          <span className="legend">
            <i style={{ background: '#7a8694' }} />
            right
          </span>
          {mistakes > 0 && (
            <button
              className="quiet"
              onClick={() => onFocus({ ...focus, selected: file.rows.flatMap((_, i) => (wrong(i) ? [i] : [])) })}
            >
              List what is wrong
            </button>
          )}
        </div>
      ) : (
        kinds && (
          <div className="chips" role="group" aria-label="Classes">
            {file.classes.map((name, i) => (
              <button
                key={name}
                className="chip"
                aria-pressed={only === i}
                onClick={() => setOnly(only === i ? undefined : i)}
              >
                <i style={{ background: colourOf(i) }} />
                {name}
              </button>
            ))}
            {only !== undefined && (
              <button
                className="quiet"
                onClick={() =>
                  onFocus({ ...focus, selected: file.rows.flatMap((_, i) => (kinds[i] === only ? [i] : [])) })
                }
              >
                List this class
              </button>
            )}
          </div>
        )
      )}
    </div>
  );
}

const labelOf = (file: MapsFile, point: number): string =>
  file.labels ? (file.classes[file.labels[point]!] ?? '') : '';

const tiles = new WeakMap<MapsFile, ReadonlyMap<number, number>>();
/** Which tile of the atlas a point has. */
function tileOf(file: MapsFile, point: number): number | undefined {
  let known = tiles.get(file);
  if (!known) tiles.set(file, (known = new Map(file.atlas.points.map((each, i) => [each, i]))));
  return known.get(point);
}

/** A sample's tile of the atlas; nothing where it has none. */
function Thumbnail({ latent: { file, atlas: urls }, point, size }: { latent: Latent; point: number; size: number }) {
  const { atlas, classes, labels } = file;
  const place = tileOf(file, point);
  const perFile = atlas.perFile ?? atlas.points.length;
  const [part, tile] = place === undefined ? [-1, 0] : [Math.floor(place / perFile), place % perFile];
  if (!urls[part]) return null;
  const scale = size / Math.max(atlas.tile.width, atlas.tile.height);
  const rows = Math.ceil(Math.min(perFile, atlas.points.length - part * perFile) / atlas.columns);
  return (
    <i
      className="thumbnail"
      role="img"
      aria-label={labels ? (classes[labels[point]!] ?? 'sample') : 'sample'}
      style={{
        width: atlas.tile.width * scale,
        height: atlas.tile.height * scale,
        backgroundImage: `url(${urls[part]})`,
        backgroundSize: `${atlas.columns * atlas.tile.width * scale}px ${rows * atlas.tile.height * scale}px`,
        backgroundPosition:
          `-${(tile % atlas.columns) * atlas.tile.width * scale}px ` +
          `-${Math.floor(tile / atlas.columns) * atlas.tile.height * scale}px`,
      }}
    />
  );
}

/** In the space itself, which a map may tear apart. */
function Neighbours({
  latent,
  some,
  title,
  onPick,
}: {
  latent: Latent;
  some: readonly number[];
  title: (file: MapsFile) => string;
  onPick: (point: number) => void;
}) {
  const url = latent.features && latent.features.bytes <= LARGEST_FEATURES ? latent.features.url : undefined;
  const features = useLive(['features', url], async () => readFeatures(await (await fetch(url!)).arrayBuffer()), {
    live: false,
    enabled: url !== undefined && some.length > 0,
  });
  const found = useMemo(
    () => (features.data && some.length > 0 ? nearestTo(features.data, some, NEIGHBOURS) : []),
    [features.data, some.join()],
  );
  if (some.length === 0 || some.length === latent.file.rows.length) return null;
  return (
    <Panel title={title(latent.file)}>
      {url === undefined ? (
        <Empty title="There are too many features to search them here." />
      ) : (
        <Loaded query={features} lines={1}>
          {() => (
            <ul className="thumbnails">
              {some.length === 1 && (
                <li className="self">
                  <Thumbnail latent={latent} point={some[0]!} size={64} />
                  <small>this one</small>
                </li>
              )}
              {found.map(({ point: other, distance }) => (
                <li key={other}>
                  <button
                    className="bare"
                    onClick={() => onPick(other)}
                    aria-label={`Row ${latent.file.rows[other]}: ${labelOf(latent.file, other)}`}
                  >
                    <Thumbnail latent={latent} point={other} size={64} />
                    <small>
                      {labelOf(latent.file, other)} · {shortNumber(distance)}
                    </small>
                  </button>
                </li>
              ))}
            </ul>
          )}
        </Loaded>
      )}
    </Panel>
  );
}

function Selection({ latent, focus, onFocus }: { latent: Latent; focus: Focus; onFocus: (focus: Focus) => void }) {
  const { file, name } = latent;
  const { selected } = focus;
  if (selected.length === 0) return null;
  const counts = file.labels
    ? [...Map.groupBy(selected, (i) => file.labels![i]!)]
        .map(([label, own]) => ({ label, count: own.length }))
        .sort((a, b) => b.count - a.count)
    : [];
  return (
    <Panel
      title={`${selected.length.toLocaleString('en')} chosen`}
      aside={
        <span className="actions">
          <button
            className="quiet"
            onClick={() =>
              save(
                `${name}-chosen.csv`,
                csv([['row', 'class'], ...selected.map((i) => [file.rows[i], labelOf(file, i)])]),
                'text/csv',
              )
            }
          >
            CSV
          </button>
          <button className="quiet" onClick={() => onFocus({ ...focus, selected: [] })}>
            Forget
          </button>
        </span>
      }
    >
      {counts.length > 0 && (
        <p className="legends">
          {counts.map(({ label, count }) => (
            <span key={label} className="legend">
              <i style={{ background: colourOf(label) }} />
              {file.classes[label]} {count}
            </span>
          ))}
        </p>
      )}
      <ul className="thumbnails">
        {selected.slice(0, MOST_LISTED).map((i) => (
          <li key={i}>
            <button
              className="bare"
              onClick={() => onFocus({ ...focus, picked: i })}
              aria-label={`Row ${file.rows[i]}: ${labelOf(file, i)}`}
            >
              <Thumbnail latent={latent} point={i} size={48} />
              <small>{labelOf(file, i) || file.rows[i]}</small>
            </button>
          </li>
        ))}
      </ul>
      {selected.length > MOST_LISTED && (
        <p className="dim">and {(selected.length - MOST_LISTED).toLocaleString('en')} more: the CSV has them all.</p>
      )}
    </Panel>
  );
}
