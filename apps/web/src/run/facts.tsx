import { duration, SHORT_ID, type Finetune, type RunDetail } from '#libs/contracts';
import { link } from '../route.js';
import { requestOf } from '../submit/submission.js';
import { Copy } from '../ui/hand-out.js';
import { Panel } from '../ui/panel.js';
import { Ago } from '../ui/time.js';

/** Part of the network that a finetuning trains, in words. */
function tunedText({ from, fromHeadLayer, task, fineTuneAfterBlock }: Finetune): string {
  const stays =
    fineTuneAfterBlock === undefined
      ? ''
      : `; up to the end of group ${fineTuneAfterBlock} of blocks the encoder stays`;
  const scratch = from === null ? ', from scratch' : stays;
  if (task === 'segmentation') return `the whole network, with a decoder of pixels on top${scratch}`;
  if (fromHeadLayer === 0) return `the whole network, with a classifier on the encoder${scratch}`;
  return (
    `the whole network is tuned from head layer ${fromHeadLayer}: the classifier sits on it, and the encoder below ` +
    `is tuned too${scratch}`
  );
}

export function Facts({ run }: { run: RunDetail }) {
  return (
    <Panel title="About">
      <dl className="facts">
        <Id id={run.id} />
        <dt>Kind</dt>
        <dd>{run.kind}</dd>
        {'dataset' in run.spec && (
          <>
            <dt>Dataset</dt>
            <dd>
              <a href={link(`datasets/${run.spec.dataset.split('@')[0]}`)}>{run.spec.dataset.split('@')[0]}</a>{' '}
              <code className="dim">{run.spec.dataset.split('@')[1]}</code>
            </dd>
          </>
        )}
        {run.spec.kind === 'finetune' && (
          <>
            <dt>Tuned</dt>
            <dd>{tunedText(run.spec)}</dd>
          </>
        )}
        <dt>Submitted</dt>
        <dd>
          <Ago at={run.createdAt} />
        </dd>
        {run.startedAt && (
          <>
            <dt>Took</dt>
            <dd>
              {run.finishedAt ? (
                duration((Date.parse(run.finishedAt) - Date.parse(run.startedAt)) / 1000)
              ) : (
                <>
                  started <Ago at={run.startedAt} />
                </>
              )}
            </dd>
          </>
        )}
        <dt>Steps</dt>
        <dd>
          {run.step.toLocaleString('en')}
          {run.totalSteps !== null && ` of ${run.totalSteps.toLocaleString('en')}`}
        </dd>
        <dt>Worker</dt>
        <dd>{run.workerId ?? '–'}</dd>
        <dt>Priority</dt>
        <dd>{run.priority}</dd>
        {Object.keys(run.requires.labels).length > 0 && (
          <>
            <dt>Needs</dt>
            <dd>
              {Object.entries(run.requires.labels)
                .map((label) => label.join('='))
                .join(', ')}
            </dd>
          </>
        )}
        <dt>Digest</dt>
        <dd>
          <code title={run.digest}>{run.digest.slice(0, 12)}…</code> <Copy text={run.digest} />
        </dd>
      </dl>
      <Reproduce run={run} />
    </Panel>
  );
}

/** The end of an id, by which it can be meant, and all of it to be copied. */
const Id = ({ id }: { id: string }) => (
  <>
    <dt>Id</dt>
    <dd>
      <code title={id}>…{id.slice(-SHORT_ID)}</code> <Copy text={id} label="Copy the id" />
    </dd>
  </>
);

/** Commands that train the run again. */
function Reproduce({ run }: { run: RunDetail }) {
  const reproduce = `loom --url ${location.origin} reproduce ${run.id}`;
  const command =
    `loom --url ${location.origin} submit /dev/stdin ` +
    `<<'END'\n${JSON.stringify({ ...requestOf(run), onDuplicate: 'replicate' })}\nEND`;
  return (
    <details className="reproduce">
      <summary>Reproduce</summary>
      <p className="dim">Trains it and all that it was made from once more, and compares every last value:</p>
      <pre tabIndex={0} aria-label="Command that reproduces">
        {reproduce}
      </pre>
      <Copy text={reproduce} label="Copy the command" />
      <p className="dim">Or only trains the same again as a new run:</p>
      <pre tabIndex={0} aria-label="Command that submits">
        {command}
      </pre>
      <Copy text={command} label="Copy the command" />
    </details>
  );
}
