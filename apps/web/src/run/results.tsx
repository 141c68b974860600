import { shortNumber, type RunDetail } from '#libs/contracts';
import { Panel } from '../ui/panel.js';

export function Results({ run }: { run: RunDetail }) {
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
