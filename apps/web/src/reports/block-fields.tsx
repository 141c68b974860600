/** The fields of one block. */
import {
  MOST_CHARTED,
  REPORT_MAPS,
  runLabel,
  SWEEP_FIGURES,
  type ReportBlock,
  type SweepFigure,
} from '#libs/contracts';
import { useId, useState } from 'react';
import { client, useLive } from '../data/queries.js';
import { Choice } from '../ui/controls.js';
import { MAP_WORDS } from './map-figure.js';
import { RunPicker, useRuns } from './run-picker.js';

type Of<Type extends ReportBlock['type']> = Extract<ReportBlock, { type: Type }>;
interface Fields<Block> {
  block: Block;
  onChange: (block: Block) => void;
}

const MOST_LISTED = 100;

export function BlockFields({ block, onChange }: Fields<ReportBlock>) {
  switch (block.type) {
    case 'text':
      return <TextFields block={block} onChange={onChange} />;
    case 'chart':
      return <ChartFields block={block} onChange={onChange} />;
    case 'table':
      return <TableFields block={block} onChange={onChange} />;
    case 'sweep':
      return <SweepFields block={block} onChange={onChange} />;
    case 'map':
      return <MapFields block={block} onChange={onChange} />;
  }
}

function TextFields({ block, onChange }: Fields<Of<'text'>>) {
  const id = useId();
  return (
    <>
      <label htmlFor={id}>Markdown</label>
      <textarea
        id={id}
        value={block.markdown}
        onChange={({ target }) => onChange({ ...block, markdown: target.value })}
      />
    </>
  );
}

/** Text with a name, and texts to choose from. */
function Line({
  label,
  value,
  placeholder = '',
  among = [],
  onChange,
}: {
  label: string;
  value: string;
  placeholder?: string;
  among?: readonly string[];
  onChange: (value: string) => void;
}) {
  const id = useId();
  return (
    <div>
      <label htmlFor={id}>{label}</label>
      <input
        id={id}
        className="wide"
        value={value}
        placeholder={placeholder}
        {...(among.length > 0 && { list: `${id}-list` })}
        onChange={({ target }) => onChange(target.value)}
      />
      {among.length > 0 && (
        <datalist id={`${id}-list`}>
          {among.map((each) => (
            <option key={each} value={each} />
          ))}
        </datalist>
      )}
    </div>
  );
}

/** The title, which a block has where one is typed. */
function Title<Block extends Of<'chart' | 'table' | 'map'>>({ block, onChange }: Fields<Block>) {
  const { title = '', ...rest } = block;
  return (
    <Line
      label="Title"
      value={title}
      placeholder="what it shows"
      onChange={(next) => onChange({ ...rest, ...(next !== '' && { title: next }) } as Block)}
    />
  );
}

function ChartFields({ block, onChange }: Fields<Of<'chart'>>) {
  const runs = useRuns(block.runs).data ?? [];
  const metrics = [...new Set(runs.flatMap((run) => Object.keys(run?.metrics ?? {})))].sort();
  return (
    <>
      <Title block={block} onChange={onChange} />
      <Line label="Metric" value={block.metric} among={metrics} onChange={(metric) => onChange({ ...block, metric })} />
      <div className="controls">
        <Choice
          label="Axis"
          value={block.axis}
          onChange={(axis) => onChange({ ...block, axis })}
          options={[
            ['step', 'steps'],
            ['time', 'time'],
          ]}
        />
        <label>
          <input
            type="checkbox"
            checked={block.log}
            onChange={({ target }) => onChange({ ...block, log: target.checked })}
          />{' '}
          log scale
        </label>
        <label>
          Smoothing{' '}
          <input
            type="range"
            min={0}
            max={0.98}
            step={0.02}
            value={block.smoothing}
            onChange={({ target }) => onChange({ ...block, smoothing: Number(target.value) })}
          />
          <output>{block.smoothing}</output>
        </label>
      </div>
      <RunPicker chosen={block.runs} most={MOST_CHARTED} onChange={(next) => onChange({ ...block, runs: next })} />
    </>
  );
}

function TableFields({ block, onChange }: Fields<Of<'table'>>) {
  // As it is typed: a comma at the end is one that a column will follow.
  const [typed, setTyped] = useState(block.columns.join(', '));
  return (
    <>
      <Title block={block} onChange={onChange} />
      <Line
        label="Columns, with commas between: status, metric:KEY, spec:FIELD …"
        value={typed}
        onChange={(text) => {
          setTyped(text);
          const columns = text.split(',').map((column) => column.trim());
          onChange({ ...block, columns: columns.filter(Boolean) });
        }}
      />
      <RunPicker chosen={block.runs} most={MOST_LISTED} onChange={(runs) => onChange({ ...block, runs })} />
    </>
  );
}

/** A choice of something by its name. What is chosen and not among the newest is there by its id. */
function Select({
  label,
  value,
  options,
  onChange,
}: {
  label: string;
  value: string;
  options: readonly { id: string; name: string }[] | undefined;
  onChange: (id: string) => void;
}) {
  const id = useId();
  return (
    <div>
      <label htmlFor={id}>{label}</label>
      <select id={id} className="wide" value={value} onChange={({ target }) => onChange(target.value)}>
        <option value="">choose …</option>
        {value !== '' && !options?.some((each) => each.id === value) && <option value={value}>{value}</option>}
        {options?.map((each) => (
          <option key={each.id} value={each.id}>
            {each.name}
          </option>
        ))}
      </select>
    </div>
  );
}

function SweepFields({ block, onChange }: Fields<Of<'sweep'>>) {
  const sweeps = useLive(['sweeps-for-report'], () => client.sweeps({ limit: 100 }), { live: false });
  return (
    <>
      <Select
        label="Sweep"
        value={block.sweep}
        options={sweeps.data?.items}
        onChange={(sweep) => onChange({ ...block, sweep })}
      />
      <Select
        label="Figure"
        value={block.figure}
        options={Object.entries(SWEEP_FIGURES).map(([id, name]) => ({ id, name }))}
        onChange={(figure) => onChange({ ...block, figure: figure as SweepFigure })}
      />
    </>
  );
}

function MapFields({ block, onChange }: Fields<Of<'map'>>) {
  const runs = useLive(['maps-for-report'], () => client.runs({ kind: ['embed'], status: ['succeeded'], limit: 100 }), {
    live: false,
  });
  const { map, ...rest } = block;
  return (
    <>
      <Title block={block} onChange={onChange} />
      <Select
        label="Run that has mapped a latent space"
        value={block.run}
        options={runs.data?.items.map((run) => ({ id: run.id, name: runLabel(run) }))}
        onChange={(run) => onChange({ ...block, run })}
      />
      <Choice
        label="Map"
        value={map ?? ''}
        onChange={(next) => onChange({ ...rest, ...(next !== '' && { map: next }) })}
        options={[['', 'its last'] as const, ...REPORT_MAPS.map((each) => [each, MAP_WORDS[each]!] as const)]}
      />
    </>
  );
}
