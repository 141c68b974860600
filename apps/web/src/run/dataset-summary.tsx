import { sampleText, summaryTable, type DatasetSummary as Summary } from '#libs/contracts';
import { Panel, Table } from '../ui/panel.js';

/** What became of a source's files: classes and splits, what was left out and why, and what to look at. */
export function DatasetSummary({ summary }: { summary: Summary }) {
  const { head, rows } = summaryTable(summary);
  const { classes, sample, sounds, dryRun, leftOut, warnings } = summary;
  return (
    <Panel title={dryRun ? 'Dataset, only looked at' : 'Dataset'}>
      {warnings.map((warning) => (
        <p key={warning} className="detail bad">
          {warning}
        </p>
      ))}
      <p className="detail">
        {classes.length || 'No'} classes, each sample {sampleText(sample)}.
        {sounds && ` ${sounds.cut} sounds were longer and cut, ${sounds.padded} shorter and padded with silence.`}
      </p>
      <Table caption="Samples by class and split" empty="No samples." head={head} rows={rows} />
      {leftOut.length > 0 && (
        <Table
          caption="Files left out"
          empty="None."
          keys={leftOut.map(({ reason }) => reason)}
          head={['left out', 'why', 'such as']}
          rows={leftOut.map(({ reason, count, examples }) => [
            count.toLocaleString('en'),
            reason,
            examples.join(', ') + (count > examples.length ? ', …' : ''),
          ])}
        />
      )}
    </Panel>
  );
}
