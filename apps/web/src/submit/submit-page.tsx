import { ApiError, duration, type Plan } from '#libs/contracts';
import { useMutation } from '@tanstack/react-query';
import { useEffect, useMemo, useRef, useState } from 'react';
import { stringify } from 'yaml';
import { client, refresh, useLive } from '../data/queries.js';
import { Editor } from './editor.js';
import { link, useRoute } from '../route.js';
import { SpecForm } from './spec-form.js';
import { parseSubmission, requestOf, sweepRequestOf, type Parsed, type Trouble } from './submission.js';
import { Choice } from '../ui/controls.js';
import { Fault, Skeleton } from '../ui/states.js';
import { Panel } from '../ui/panel.js';

const TYPED_MS = 350;
const DRAFT = 'draft';

const EXAMPLES: Record<
  string,
  { title: string; text: (names: { dataset: string; encoder: string; autoencoder: string }) => string }
> = {
  sweep: {
    title: 'Sweep over views',
    text: ({ dataset }) => `# Which views need the fewest labels? Each alone and each two together, with the control.
name: views
stages:
  pretrain: {kind: pretrain, dataset: ${dataset}, epochs: 8, encoder: {width: 16}}
  # \`from\` names the stage whose encoder is tuned.
  finetune: {kind: finetune, dataset: ${dataset}, from: pretrain, steps: 200}
augmentations:
  pairs: {of: {crop: {minArea: 0.2}, rotate: {}, blur: {}}}
label_fractions: [0.01, 0.1]
seeds: 3
controls: [scratch]
`,
  },
  pretrain: {
    title: 'Pretraining',
    text: ({ dataset }) => `kind: pretrain
dataset: ${dataset}
method: simclr        # or byol, simsiam, barlow-twins, vicreg
epochs: 8
batchSize: 256
encoder: {name: small-resnet, width: 16}
augmentation: {crop: {minArea: 0.2}, rotate: {}}
`,
  },
  autoencode: {
    title: 'Autoencoder',
    text: ({ dataset }) => `kind: autoencode
dataset: ${dataset}
variant: plain      # or denoising, variational: one to draw samples from
latent: 64
epochs: 20
encoder: {width: 32}
`,
  },
  embed: {
    title: 'Latent map',
    text: ({ dataset, encoder }) => `kind: embed
dataset: ${dataset}
from: ${encoder}   # the run whose encoder gives the features
split: train
maxSamples: 5000
maps: [pca, tsne, umap]
`,
  },
  interpolate: {
    title: 'Walk',
    text: ({ dataset, autoencoder }) => `kind: interpolate
dataset: ${dataset}
from: ${autoencoder}   # an autoencoder
between: {rows: [0, 1]}
points: 11
samples: 8
`,
  },
};

/** A run or a sweep as YAML, with its plan while one types. */
export function SubmitPage() {
  const { query } = useRoute();
  const start = useLive(
    ['start', query['from'], query['sweep'], query['example']],
    async () => {
      if (query['from']) return stringify(requestOf(await client.run(query['from'])));
      if (query['sweep']) return stringify(sweepRequestOf(await client.sweep(query['sweep'])));
      return null;
    },
    { live: false },
  );
  const names = useLive(
    ['names'],
    async () => {
      const [datasets, encoders, autoencoders] = await Promise.all([
        client.datasets({ limit: 1 }),
        client.runs({ kind: ['pretrain'], status: ['succeeded'], limit: 1 }),
        client.runs({ kind: ['autoencode'], status: ['succeeded'], limit: 1 }),
      ]);
      return {
        dataset: datasets.items[0]?.name ?? 'cifar10',
        encoder: encoders.items[0]?.id ?? 'RUN',
        autoencoder: autoencoders.items[0]?.id ?? 'RUN',
      };
    },
    { live: false },
  );
  if (start.error) return <Fault error={start.error} />;
  if (start.isPending || (names.isPending && !names.error)) return <Skeleton lines={10} />;
  const given = names.data ?? { dataset: 'cifar10', encoder: 'RUN', autoencoder: 'RUN' };
  const example = EXAMPLES[query['example'] ?? ''];
  return (
    <Composer
      key={`${query['from']} ${query['sweep']} ${query['example']}`}
      start={start.data ?? example?.text(given) ?? sessionStorage.getItem(DRAFT) ?? EXAMPLES['sweep']!.text(given)}
      names={given}
    />
  );
}

function Composer({ start, names }: { start: string; names: Parameters<(typeof EXAMPLES)['sweep']['text']>[0] }) {
  const [text, setText] = useState(start);
  const box = useRef<HTMLDivElement>(null);
  const editor = useRef<Editor>(undefined);
  const [state, setState] = useState<{ plan?: Plan; troubles: Trouble[]; general?: string; checking: boolean }>({
    troubles: [],
    checking: true,
  });
  const submit = useMutation({
    mutationFn: async () => {
      const parsed = parseSubmission(text);
      if ('troubles' in parsed) throw new Error(parsed.troubles[0]!.message);
      const { submission } = parsed;
      if (submission.type === 'sweep') return link(`sweeps/${(await client.submitSweep(submission.request)).sweep.id}`);
      return link(`runs/${(await client.submitRun(submission.request)).run.id}`);
    },
    onSuccess: (address) => {
      sessionStorage.removeItem(DRAFT);
      void refresh();
      location.hash = address;
    },
  });
  const submitNow = useRef(() => submit.mutate());
  useEffect(() => {
    submitNow.current = () => {
      if (state.plan && !submit.isPending) submit.mutate();
    };
  });

  useEffect(() => {
    const created = (editor.current = new Editor(box.current!, start, setText, () => submitNow.current()));
    return () => created.destroy();
  }, []);
  useEffect(() => {
    let current = true;
    if (text !== start) sessionStorage.setItem(DRAFT, text);
    setState((last) => ({ ...last, checking: true }));
    const timer = setTimeout(() => {
      void planOf(parseSubmission(text)).then((next) => {
        if (!current) return;
        setState({ ...next, checking: false });
        editor.current?.mark(next.troubles);
      });
    }, TYPED_MS);
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [text]);
  const parsed = useMemo(() => parseSubmission(text), [text]);
  // While the text is broken the form waits.
  const draft = 'draft' in parsed ? parsed.draft : undefined;
  const example = Object.entries(EXAMPLES).find(([, each]) => each.text(names) === text)?.[0] ?? '';
  return (
    <>
      <h1>New sweep or run</h1>
      <div className="controls">
        <Choice
          label="Begin with"
          value={example}
          onChange={(name) => {
            if (editor.current) editor.current.text = EXAMPLES[name]!.text(names);
          }}
          options={Object.entries(EXAMPLES).map(([name, { title }]) => [name, title] as const)}
        />
      </div>
      <div className="columns compose">
        <div className="editor" ref={box} />
        <div>
          <Panel
            title="Plan"
            aside={
              <span className="dim" role="status">
                {state.checking && 'checking …'}
                {!state.checking && state.plan && 'ready'}
              </span>
            }
          >
            {state.plan && <PlanView plan={state.plan} />}
            {!state.plan && state.general && (
              <p className="bad" role="alert">
                {state.general}
              </p>
            )}
            {!state.plan && !state.general && state.troubles.length === 0 && <Skeleton lines={2} />}
            {state.troubles.length > 0 && (
              <ul className="troubles" aria-label="Faults">
                {state.troubles.map((trouble, i) => (
                  <li key={i}>
                    <button className="bare" onClick={() => editor.current?.show(trouble.from)}>
                      <b>line {editor.current?.lineOf(trouble.from)}</b> {trouble.message}
                    </button>
                  </li>
                ))}
              </ul>
            )}
            <p className="actions">
              <button
                className="primary"
                disabled={!state.plan || state.checking || submit.isPending}
                onClick={() => submit.mutate()}
              >
                {submit.isPending ? 'Submitting …' : 'Submit'}
              </button>
              <span className="dim">or Ctrl+Enter</span>
            </p>
            {submit.error && (
              <p className="bad" role="alert">
                {submit.error.message}
              </p>
            )}
          </Panel>
          {draft && (
            <SpecForm
              text={text}
              draft={draft}
              onChange={(next) => {
                if (editor.current) editor.current.text = next;
              }}
            />
          )}
          <Panel title="Help">
            <p className="dim">
              A run has a <code>kind</code>; a sweep has <code>stages</code> and what is varied. Nothing is spent until
              you submit: what another run has done already is reused. Tab indents; Escape, then Tab leaves the editor.
            </p>
          </Panel>
        </div>
      </div>
    </>
  );
}

/** What submitting would do, or what stands in its way and where. */
async function planOf(parsed: Parsed): Promise<{ plan?: Plan; troubles: Trouble[]; general?: string }> {
  if ('troubles' in parsed) return { troubles: parsed.troubles };
  const { submission, locate } = parsed;
  try {
    return {
      plan:
        submission.type === 'sweep'
          ? await client.planSweep(submission.request)
          : await client.planRun(submission.request),
      troubles: [],
    };
  } catch (error) {
    const faults = error instanceof ApiError ? (error.problem.errors ?? []) : [];
    if (faults.length)
      return {
        troubles: faults.map(({ path, message }) => ({
          ...locate(path),
          message: `${path.replace(/^spec\./, '')}: ${message}`,
        })),
      };
    if (error instanceof ApiError) return { troubles: [], general: error.problem.detail || error.problem.title };
    return { troubles: [], general: error instanceof Error ? error.message : String(error) };
  }
}

function PlanView({ plan: { trials, newRuns, reused, summary, estimate } }: { plan: Plan }) {
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
            <th scope="col">reused</th>
          </tr>
        </thead>
        <tbody>
          {kinds.map((kind) => (
            <tr key={kind}>
              <td>{kind}</td>
              <td>{newRuns[kind] ?? 0}</td>
              <td>{reused[kind] ?? 0}</td>
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
