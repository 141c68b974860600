import { useEffect, useMemo, useRef, useState } from 'react';
import { client, useLive } from './data.js';
import { inside, nearestTo, normalised, readFeatures, type MapsFile } from './latent.js';
import { shortNumber } from './progress.js';
import { link, useRoute } from './route.js';
import { Scatter } from './scatter.js';
import { Choice, colourOf, Empty, Loaded, nameOf, Panel, save } from './ui.js';
import { csv } from './spec-diff.js';

const NEIGHBOURS = 12;
const MOST_LISTED = 300;
const LARGEST_FEATURES = 96e6;
const MAP_NAMES: Record<string, string> = { pca: 'PCA', tsne: 't-SNE', umap: 'UMAP' };

interface Latent { file: MapsFile; atlas: string | undefined; features: { url: string; bytes: number } | undefined; metrics: Record<string, number>; name: string }

function useLatent(id: string | undefined) {
  return useLive(['latent', id], async (): Promise<Latent> => {
    const run = await client.run(id!);
    const artifacts = new Map<string, { url: string; bytes: number }>();
    for await (const each of client.eachArtifact(id!)) artifacts.set(each.name, { url: client.artifactUrl(id!, each.id), bytes: each.sizeBytes });
    const maps = artifacts.get('maps.json');
    if (!maps) throw new Error(`expected a run that has mapped a latent space, ${nameOf(run)} (${run.kind}) has no maps.json: ${run.status === 'succeeded' ? 'choose one of kind embed' : `it is ${run.status}`}`);
    const answer = await fetch(maps.url);
    if (!answer.ok) throw new Error(`expected the maps of ${nameOf(run)}, got HTTP ${answer.status}`);
    return { file: await answer.json() as MapsFile, atlas: artifacts.get('atlas.webp')?.url, features: artifacts.get('embeddings.npy'), metrics: run.result?.metrics ?? {}, name: nameOf(run) };
  }, { live: false, enabled: id !== undefined });
}

/** What is looked at, shared by maps of the same samples. */
interface Focus { hovered: number | undefined; picked: number | undefined; selected: readonly number[] }
const NOTHING: Focus = { hovered: undefined, picked: undefined, selected: [] };

/** The page: one map or two side by side, and what was chosen in them. */
export function MapPage({ id }: { id: string }) {
  const { query, change } = useRoute();
  const other = query['with'] || undefined;
  const [first, second] = [useLatent(id), useLatent(other)];
  const others = useLive(['runs', 'embeds'], () => client.runs({ kind: ['embed'], status: ['succeeded'], limit: 200 }));
  const [focus, setFocus] = useState<Focus>(NOTHING);
  const [apart, setApart] = useState<Focus>(NOTHING);
  return (
    <>
      <p className="crumbs"><a href={link('maps')}>Latent maps</a> / <a href={link(`runs/${id}`)}>the run</a></p>
      <Loaded query={first} lines={10}>{(latent) => {
        const same = second.data?.file.samplesDigest === latent.file.samplesDigest;
        const names = Object.keys(latent.file.maps);
        const map = names.includes(query['map'] ?? '') ? query['map']! : names.at(-1)!;
        return (
          <>
            <div className="title"><h1>{latent.name}</h1><span className="dim">{latent.file.rows.length.toLocaleString('en')} samples of the {latent.file.split} split of {latent.file.dataset.split('@')[0]}, {latent.file.dimensions} features</span></div>
            <div className="controls">
              <Choice label="Map" value={map} onChange={(next) => change({ map: next })} options={names.map((each) => [each, MAP_NAMES[each] ?? each] as const)} />
              <label>Beside it <select value={other ?? ''} onChange={({ target }) => change({ with: target.value })}><option value="">no other</option>{others.data?.items.filter((run) => run.id !== id).map((run) => <option key={run.id} value={run.id}>{nameOf(run)}</option>)}</select></label>
              {second.data && !same && <span className="dim">They show other samples: what you choose in one is not marked in the other.</span>}
              {second.error && <span className="bad" role="alert">{second.error.message}</span>}
            </div>
            <div className={second.data ? 'pair maps' : 'maps'}>
              <MapPanel latent={latent} map={map} focus={focus} onFocus={setFocus} height={second.data ? 460 : 620} />
              {second.data && <MapPanel latent={second.data} map={map in second.data.file.maps ? map : Object.keys(second.data.file.maps).at(-1)!} focus={same ? focus : apart} onFocus={same ? setFocus : setApart} height={460} />}
            </div>
            <Neighbours latent={latent} point={focus.picked} onPick={(picked) => setFocus({ ...focus, picked })} />
            <Selection latent={latent} focus={focus} onFocus={setFocus} />
          </>
        );
      }}</Loaded>
    </>
  );
}

/** A map on another page. */
export function LatentMap({ id, height }: { id: string; height: number }) {
  const latent = useLatent(id);
  const [focus, setFocus] = useState<Focus>(NOTHING);
  const [map, setMap] = useState<string>();
  return <Loaded query={latent}>{(data) => {
    const names = Object.keys(data.file.maps);
    const shown = map ?? names.at(-1)!;
    return <><Choice label="Map" value={shown} onChange={setMap} options={names.map((each) => [each, MAP_NAMES[each] ?? each] as const)} /><MapView latent={data} map={shown} focus={focus} onFocus={setFocus} height={height} /></>;
  }}</Loaded>;
}

function MapPanel(props: { latent: Latent; map: string; focus: Focus; onFocus: (focus: Focus) => void; height: number }) {
  const { latent: { metrics, name }, map } = props;
  const quality = ([['trustworthiness', 'trustworthiness'], ['neighbours_kept', 'neighbours kept'], ['knn_purity', 'kNN purity'], ['disparity', 'disparity']] as const).flatMap(([key, word]) => { const value = metrics[`map/${map}/${key}`]; return value === undefined ? [] : [`${word} ${value.toFixed(2)}`]; });
  return <Panel title={`${MAP_NAMES[map] ?? map}: ${name}`} aside={<span className="dim" title="What this map is worth against the space itself">{quality.join(' · ')}</span>}><MapView {...props} /></Panel>;
}

const rgb = (hex: string): [number, number, number] => [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)) as [number, number, number];

function MapView({ latent, map, focus, onFocus, height }: { latent: Latent; map: string; focus: Focus; onFocus: (focus: Focus) => void; height: number }) {
  const { file } = latent;
  const box = useRef<HTMLDivElement>(null);
  const scatter = useRef<Scatter>(undefined);
  const [mode, setMode] = useState<'pan' | 'lasso'>('pan');
  const [trace, setTrace] = useState<[number, number][]>([]);
  const [pointer, setPointer] = useState<{ x: number; y: number }>({ x: 0, y: 0 });
  const [only, setOnly] = useState<number>();
  const [fault, setFault] = useState<string>();
  const points = useMemo(() => normalised(file.maps[map]!), [file, map]);
  const latest = useRef({ focus, onFocus });
  latest.current = { focus, onFocus };

  const colours = useMemo(() => {
    const selected = new Set(focus.selected);
    const table = file.classes.map((_, i) => rgb(colourOf(i)));
    const all = new Uint8Array(4 * file.rows.length);
    for (let i = 0; i < file.rows.length; i++) {
      const label = file.labels?.[i];
      const [r, g, b] = label === undefined ? rgb(colourOf(0)) : table[label]!;
      const faded = (selected.size > 0 && !selected.has(i)) || (only !== undefined && label !== only);
      all.set(i === focus.picked ? [255, 140, 0, 255] : [r, g, b, faded ? 28 : 205], 4 * i);
    }
    return all;
  }, [file, focus.selected, focus.picked, only]);

  useEffect(() => {
    try {
      const created = scatter.current = new Scatter(box.current!, {
        points, colours,
        onHover: (hovered, x, y) => { if (hovered !== latest.current.focus.hovered) latest.current.onFocus({ ...latest.current.focus, hovered }); if (hovered !== undefined) setPointer({ x, y }); },
        onPick: (picked) => latest.current.onFocus({ ...latest.current.focus, picked }),
      });
      return () => { created.destroy(); scatter.current = undefined; };
    } catch (error) { setFault(error instanceof Error ? error.message : String(error)); }
  }, []);
  useEffect(() => scatter.current?.update({ points, colours }), [points, colours]);
  useEffect(() => scatter.current?.fit(), [points]);

  const at = ({ clientX, clientY }: { clientX: number; clientY: number }): [number, number] => { const { left, top } = box.current!.getBoundingClientRect(); return [clientX - left, clientY - top]; };
  const finish = () => {
    if (!scatter.current) return;
    const polygon = trace.map(([x, y]) => scatter.current!.unproject(x, y));
    setTrace([]);
    onFocus({ ...focus, selected: inside(points, polygon).filter((i) => only === undefined || file.labels?.[i] === only) });
    setMode('pan');
  };
  const { hovered } = focus;
  if (fault) return <Empty title="This browser draws no WebGL."><p>{fault}. The files of the run hold the map as <code>maps.json</code> and <code>embeddings.parquet</code>.</p></Empty>;
  return (
    <div className="map">
      <div className="controls">
        <Choice label="What dragging does" value={mode} onChange={setMode} options={[['pan', 'Move'], ['lasso', 'Lasso']]} />
        <span className="actions"><button onClick={() => scatter.current?.zoom(0.7)} aria-label="Nearer">+</button><button onClick={() => scatter.current?.zoom(-0.7)} aria-label="Farther">−</button><button onClick={() => scatter.current?.fit()}>Whole</button></span>
        {focus.selected.length > 0 && <button onClick={() => onFocus({ ...focus, selected: [] })}>Forget the {focus.selected.length.toLocaleString('en')} chosen</button>}
      </div>
      <div className="canvas" style={{ height }}>
        <div ref={box} className="plot" role="img" aria-label={`${MAP_NAMES[map] ?? map} of ${file.rows.length} samples, coloured by ${file.classes.length} classes`} />
        {mode === 'lasso' && (
          <svg className="lasso" onPointerDown={(event) => { event.currentTarget.setPointerCapture(event.pointerId); setTrace([at(event)]); }} onPointerMove={(event) => { if (trace.length) setTrace([...trace, at(event)]); }} onPointerUp={finish} onPointerCancel={() => setTrace([])}>
            {trace.length > 1 && <polygon points={trace.map((each) => each.join()).join(' ')} />}
          </svg>
        )}
        {hovered !== undefined && mode === 'pan' && <div className="tooltip" style={{ left: Math.min(pointer.x + 14, (box.current?.clientWidth ?? 300) - 120), top: Math.min(pointer.y + 14, height - 130) }}><Thumbnail latent={latent} point={hovered} size={88} /><span>{labelOf(file, hovered)}<br /><small>row {file.rows[hovered]}</small></span></div>}
      </div>
      {file.labels && (
        <div className="chips" role="group" aria-label="Classes">{file.classes.map((name, i) => <button key={name} className="chip" aria-pressed={only === i} onClick={() => setOnly(only === i ? undefined : i)}><i style={{ background: colourOf(i) }} />{name}</button>)}
          {only !== undefined && <button className="quiet" onClick={() => onFocus({ ...focus, selected: file.rows.flatMap((_, i) => (file.labels![i] === only ? [i] : [])) })}>List this class</button>}</div>
      )}
    </div>
  );
}

const labelOf = (file: MapsFile, point: number): string => (file.labels ? file.classes[file.labels[point]!] ?? '' : '');

/** A sample's tile of the atlas; nothing where it has none. */
function Thumbnail({ latent: { file: { atlas, classes, labels }, atlas: url }, point, size }: { latent: Latent; point: number; size: number }) {
  const tile = useMemo(() => new Map(atlas.points.map((each, i) => [each, i])), [atlas]).get(point);
  if (tile === undefined || url === undefined) return null;
  const scale = size / Math.max(atlas.tile.width, atlas.tile.height);
  const rows = Math.ceil(atlas.points.length / atlas.columns);
  return (
    <i className="thumbnail" role="img" aria-label={labels ? classes[labels[point]!] ?? 'sample' : 'sample'} style={{
      width: atlas.tile.width * scale, height: atlas.tile.height * scale, backgroundImage: `url(${url})`,
      backgroundSize: `${atlas.columns * atlas.tile.width * scale}px ${rows * atlas.tile.height * scale}px`,
      backgroundPosition: `-${(tile % atlas.columns) * atlas.tile.width * scale}px -${Math.floor(tile / atlas.columns) * atlas.tile.height * scale}px`,
    }} />
  );
}

/** In the space itself, which a map may tear apart. */
function Neighbours({ latent, point, onPick }: { latent: Latent; point: number | undefined; onPick: (point: number) => void }) {
  const url = latent.features && latent.features.bytes <= LARGEST_FEATURES ? latent.features.url : undefined;
  const features = useLive(['features', url], async () => readFeatures(await (await fetch(url!)).arrayBuffer()), { live: false, enabled: url !== undefined && point !== undefined });
  if (point === undefined) return null;
  return (
    <Panel title={`Nearest to ${labelOf(latent.file, point) || 'sample'} (row ${latent.file.rows[point]}) in the space itself`}>
      {url === undefined ? <Empty title="There are too many features to search them here." /> : <Loaded query={features} lines={1}>{(all) => (
        <ul className="thumbnails"><li className="self"><Thumbnail latent={latent} point={point} size={64} /><small>this one</small></li>{nearestTo(all, point, NEIGHBOURS).map(({ point: other, distance }) => (
          <li key={other}><button className="bare" onClick={() => onPick(other)} aria-label={`Row ${latent.file.rows[other]}: ${labelOf(latent.file, other)}`}><Thumbnail latent={latent} point={other} size={64} /><small>{labelOf(latent.file, other)} · {shortNumber(distance)}</small></button></li>
        ))}</ul>
      )}</Loaded>}
    </Panel>
  );
}

function Selection({ latent, focus, onFocus }: { latent: Latent; focus: Focus; onFocus: (focus: Focus) => void }) {
  const { file, name } = latent;
  const { selected } = focus;
  if (selected.length === 0) return null;
  const counts = file.labels ? [...Map.groupBy(selected, (i) => file.labels![i]!)].map(([label, own]) => ({ label, count: own.length })).sort((a, b) => b.count - a.count) : [];
  return (
    <Panel title={`${selected.length.toLocaleString('en')} chosen`} aside={<span className="actions"><button className="quiet" onClick={() => save(`${name}-chosen.csv`, csv([['row', 'class'], ...selected.map((i) => [file.rows[i], labelOf(file, i)])]), 'text/csv')}>CSV</button><button className="quiet" onClick={() => onFocus({ ...focus, selected: [] })}>Forget</button></span>}>
      {counts.length > 0 && <p className="legends">{counts.map(({ label, count }) => <span key={label} className="legend"><i style={{ background: colourOf(label) }} />{file.classes[label]} {count}</span>)}</p>}
      <ul className="thumbnails">{selected.slice(0, MOST_LISTED).map((i) => <li key={i}><button className="bare" onClick={() => onFocus({ ...focus, picked: i })} aria-label={`Row ${file.rows[i]}: ${labelOf(file, i)}`}><Thumbnail latent={latent} point={i} size={48} /><small>{labelOf(file, i) || file.rows[i]}</small></button></li>)}</ul>
      {selected.length > MOST_LISTED && <p className="dim">and {(selected.length - MOST_LISTED).toLocaleString('en')} more: the CSV has them all.</p>}
    </Panel>
  );
}
