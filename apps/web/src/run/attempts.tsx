import { duration, type RunDetail } from '#libs/contracts';
import { Panel } from '../ui/panel.js';
import { Ago } from '../ui/time.js';

export function Attempts({ run }: { run: RunDetail }) {
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
