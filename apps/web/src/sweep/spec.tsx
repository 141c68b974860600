import type { SweepDetail } from '#libs/contracts';
import { stringify } from 'yaml';
import { link } from '../route.js';
import { sweepRequestOf } from '../submit/submission.js';
import { Copy, save } from '../ui/hand-out.js';
import { Panel } from '../ui/panel.js';

export function Spec({ sweep }: { sweep: SweepDetail }) {
  const text = stringify(sweepRequestOf(sweep));
  return (
    <Panel>
      <div className="controls">
        <Copy text={text} label="Copy YAML" />
        <button className="quiet" onClick={() => save(`${sweep.name}.yaml`, text, 'application/yaml')}>
          Download
        </button>
        <a href={link('new', { sweep: sweep.id })}>Edit as a new sweep</a>
      </div>
      <pre tabIndex={0} aria-label="Spec">
        {text}
      </pre>
    </Panel>
  );
}
