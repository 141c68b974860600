import { runLabel, type RunDetail } from '#libs/contracts';
import { stringify } from 'yaml';
import { link } from '../route.js';
import { requestOf } from '../submit/submission.js';
import { Copy, save } from '../ui/hand-out.js';
import { Panel } from '../ui/panel.js';

export function Spec({ run }: { run: RunDetail }) {
  const text = stringify(requestOf(run));
  return (
    <Panel aside={null}>
      <div className="controls">
        <Copy text={text} label="Copy YAML" />
        <button
          className="quiet"
          onClick={() => save(`${runLabel(run).replaceAll(' ', '-')}.yaml`, text, 'application/yaml')}
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
