/** The blocks of a report with what they show: on the page of the report, and in the file that opens offline. */
import type { BlockContent, ChartContent, ReportBlock, SweepContent, TableContent } from '#libs/contracts';
import { CurveChart } from '../charts/curve-chart.js';
import { seriesOf } from '../charts/series.js';
import { CompositionMap } from '../figures/composition-map.js';
import { Effects } from '../figures/effects.js';
import { Importance } from '../figures/importance.js';
import { LabelEfficiency } from '../figures/label-efficiency.js';
import { ParallelCoordinates } from '../figures/parallel-coordinates.js';
import { link } from '../route.js';
import { ResultTable } from '../sweep/result-table.js';
import { colourOf } from '../ui/colours.js';
import { Panel, Table } from '../ui/panel.js';
import { MapFigure } from './map-figure.js';
import { markdownHtml } from './markdown.js';

type Of<Type extends ReportBlock['type']> = Extract<ReportBlock, { type: Type }>;

export const TextView = ({ markdown }: { markdown: string }) => (
  <div className="markdown" dangerouslySetInnerHTML={{ __html: markdownHtml(markdown) }} />
);

/** Content is of the block's type: it was read for it. */
export function BlockView({ block, content }: { block: ReportBlock; content: BlockContent }) {
  return (
    <>
      {block.type === 'text' && <TextView markdown={block.markdown} />}
      {block.type === 'chart' && content.type === 'chart' && <Chart block={block} content={content} />}
      {block.type === 'table' && content.type === 'table' && <Runs block={block} content={content} />}
      {block.type === 'sweep' && content.type === 'sweep' && <SweepView block={block} content={content} />}
      {block.type === 'map' && content.type === 'map' && content.map && (
        <MapFigure map={content.map} title={block.title} />
      )}
      {content.absent.map((sentence) => (
        <p key={sentence} className="absent">
          {sentence}
        </p>
      ))}
    </>
  );
}

function Chart({ block, content: { runs } }: { block: Of<'chart'>; content: ChartContent }) {
  if (runs.length === 0) return null;
  const { metric, axis, log, smoothing } = block;
  const lines = runs.map(({ label, points }, i) => ({ label, colour: colourOf(i), series: seriesOf(points) }));
  return (
    <Panel title={block.title ?? metric}>
      <p className="legends">
        {runs.map(({ id, label }, i) => (
          <span key={id} className="legend">
            <i style={{ background: colourOf(i) }} />
            <a href={link(`runs/${id}`)}>{label}</a>
          </span>
        ))}
      </p>
      <CurveChart
        title={metric}
        lines={lines}
        settings={{ axis, log, smoothing }}
        height={280}
        version={runs.reduce((sum, { points }) => sum + points.length, 0)}
      />
    </Panel>
  );
}

/** `metric:eval/knn` and `spec:encoder.name` by what follows. */
const headOf = (column: string): string => column.replace(/^(?:metric|spec):/, '');

const Runs = ({ block, content: { rows } }: { block: Of<'table'>; content: TableContent }) =>
  rows.length > 0 && (
    <Panel title={block.title ?? 'Runs'} className="flush">
      <Table
        caption={block.title ?? 'Runs'}
        empty=""
        head={['run', ...block.columns.map(headOf)]}
        keys={rows.map(({ id }) => id)}
        rows={rows.map(({ id, label, cells }) => [<a href={link(`runs/${id}`)}>{label}</a>, ...cells])}
      />
    </Panel>
  );

/** Trials are a page of the dashboard: a report says of which sweep it is. */
const nowhere = () => undefined;

function SweepView({ block: { figure }, content: { sweep } }: { block: Of<'sweep'>; content: SweepContent }) {
  if (!sweep) return null;
  const { id, name, table, ranking, parameters } = sweep;
  const { composition, coordinates } = table;
  const shared = { ranking, name, linkOf: nowhere };
  return (
    <>
      {figure === 'composition' && composition && <CompositionMap composition={composition} {...shared} />}
      {figure === 'label-efficiency' && <LabelEfficiency rows={table.rows} {...shared} />}
      {figure === 'effects' && (
        <Effects effects={table.effects} measure={table.measure} goal={ranking.goal} name={name} linkOf={nowhere} />
      )}
      {figure === 'importance' && (
        <Importance importance={table.importance} measure={table.measure} name={name} linkOf={nowhere} />
      )}
      {figure === 'results' && <ResultTable table={table} {...shared} />}
      {figure === 'coordinates' && (
        <ParallelCoordinates
          trials={coordinates.lines.map(({ trial, values, value }) => ({
            index: trial,
            parameters: Object.fromEntries(
              coordinates.axes.flatMap((axis, i) => (values[i] === null ? [] : [[axis, values[i]]])),
            ),
            metrics: value === null ? {} : { [ranking.name]: value },
            ended: undefined,
          }))}
          metric={ranking.name}
          scales={parameters}
          name={name}
          linkOf={nowhere}
        />
      )}
      <p className="source">
        Of the sweep <a href={link(`sweeps/${id}`)}>{name}</a>
        {!table.complete && ', which is not complete'}
      </p>
    </>
  );
}
