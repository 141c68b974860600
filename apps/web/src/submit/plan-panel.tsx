/** The plan of the text, made anew while one types, and the button that submits it. */
import { ApiError, duration, UnreachableError, type Plan } from '#libs/contracts';
import { client, isFinal } from '../data/connection.js';
import { Panel } from '../ui/panel.js';
import { Skeleton } from '../ui/states.js';
import { lineOf, refusalsOf, troublesOf, type Parsed, type Trouble } from './submission.js';

/** What submitting would do, or what stands in its way: faults with their places, or one that has none. */
export interface Checked {
  plan?: Plan;
  troubles: Trouble[];
  general?: string;
}

/** Asks the API for the plan of what is written, unless that can't be right. @throws what may pass */
export async function planOf(parsed: Parsed): Promise<Checked> {
  if ('troubles' in parsed) return { troubles: parsed.troubles };
  const { submission, locate } = parsed;
  const refusals = refusalsOf(parsed);
  if (refusals.length > 0) return { troubles: refusals };
  try {
    return {
      plan:
        submission.type === 'sweep'
          ? await client.planSweep(submission.request)
          : await client.planRun(submission.request),
      troubles: [],
    };
  } catch (error) {
    const troubles = troublesOf(error, locate);
    if (troubles.length) return { troubles };
    if (error instanceof UnreachableError || (error instanceof ApiError && !isFinal(error))) throw error;
    if (error instanceof ApiError) return { troubles: [], general: error.problem.detail || error.problem.title };
    return { troubles: [], general: error instanceof Error ? error.message : String(error) };
  }
}

interface Props {
  text: string;
  checked: Checked;
  /** The text has changed since it was checked. */
  checking: boolean;
  submitting: boolean;
  error: Error | null;
  onShow: (place: number) => void;
  onSubmit: () => void;
}

export function PlanPanel({ text, checked, checking, submitting, error, onShow, onSubmit }: Props) {
  const { plan, troubles, general } = checked;
  return (
    <Panel
      title="Plan"
      aside={
        <span className="dim" role="status">
          {checking && 'checking …'}
          {!checking && plan && 'ready'}
        </span>
      }
    >
      {plan && <PlanView plan={plan} />}
      {!plan && general && (
        <p className="bad" role="alert">
          {general}
        </p>
      )}
      {!plan && !general && troubles.length === 0 && <Skeleton lines={2} />}
      {troubles.length > 0 && (
        <ul className="troubles" aria-label="Faults">
          {troubles.map((trouble, i) => (
            <li key={i}>
              <button className="bare" onClick={() => onShow(trouble.from)}>
                <b>line {lineOf(text, trouble.from)}</b> {trouble.message}
              </button>
            </li>
          ))}
        </ul>
      )}
      <p className="actions">
        <button className="primary" disabled={!plan || checking || submitting} onClick={onSubmit}>
          {submitting ? 'Submitting …' : 'Submit'}
        </button>
        <span className="dim">or Ctrl+Enter</span>
      </p>
      {error && (
        <p className="bad" role="alert">
          {error.message}
        </p>
      )}
    </Panel>
  );
}

function PlanView({ plan: { trials, newRuns, reused, existing = {}, summary, estimate } }: { plan: Plan }) {
  const kinds = [...new Set([...Object.keys(newRuns), ...Object.keys(reused)])];
  return (
    <>
      <p className="plan">
        <b>{trials.toLocaleString('en')}</b> {trials === 1 ? 'trial' : 'trials'},{' '}
        <b>
          {Object.values(newRuns)
            .reduce((sum, count) => sum + count, 0)
            .toLocaleString('en')}
        </b>{' '}
        new runs
      </p>
      <table className="small">
        <thead>
          <tr>
            <th scope="col">kind</th>
            <th scope="col">new</th>
            <th scope="col">there</th>
            <th scope="col">shared</th>
          </tr>
        </thead>
        <tbody>
          {kinds.map((kind) => (
            <tr key={kind}>
              <td>{kind}</td>
              <td>{newRuns[kind] ?? 0}</td>
              <td>{existing[kind] ?? 0}</td>
              <td>{(reused[kind] ?? 0) - (existing[kind] ?? 0)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {estimate && estimate.gpuSeconds > 0 && (
        <p>
          About <b>{duration(estimate.wallSeconds ?? estimate.gpuSeconds)}</b>
          {estimate.wallSeconds === null
            ? ' of a worker; none is there now'
            : ` on ${estimate.slots} ${estimate.slots === 1 ? 'slot' : 'slots'}`}
          , from what such runs have taken
          {Object.keys(estimate.unknown).length > 0 &&
            `; without ${Object.entries(estimate.unknown)
              .map(([kind, count]) => `${count} ${kind}`)
              .join(', ')}, of which none has ended yet`}
          .
        </p>
      )}
      <p className="dim">{summary}</p>
    </>
  );
}
