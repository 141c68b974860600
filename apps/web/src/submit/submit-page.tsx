import type { Run } from '#libs/contracts';
import { useMutation } from '@tanstack/react-query';
import { useEffect, useEffectEvent, useMemo, useRef, useState } from 'react';
import { stringify } from 'yaml';
import { persistently } from '../data/connection.js';
import { client, refresh, useLive } from '../data/queries.js';
import { link, useRoute } from '../route.js';
import { Choice } from '../ui/controls.js';
import { Panel } from '../ui/panel.js';
import { Fault, Skeleton } from '../ui/states.js';
import { Editor } from './editor.js';
import { EXAMPLES, firstExample, nextText, type Names, type Trained } from './examples.js';
import { PlanPanel, planOf, type Checked } from './plan-panel.js';
import { SpecForm } from './spec-form.js';
import { parseSubmission, requestOf, sweepRequestOf, troublesOf } from './submission.js';

const TYPED_MS = 350;
const DRAFT = 'draft';

const NO_RUN: Trained = { id: 'RUN', dataset: 'cifar10' };
const NO_NAMES: Names = { dataset: 'cifar10', encoder: NO_RUN, autoencoder: NO_RUN };
/** An example pairs a run with its own dataset. */
const trained = (run: Run | undefined): Trained =>
  run && 'dataset' in run.spec ? { id: run.id, dataset: run.spec.dataset } : NO_RUN;

/** A run or a sweep as YAML, with its plan while one types. */
export function SubmitPage() {
  const { query } = useRoute();
  const start = useLive(
    ['start', query['from'], query['sweep'], query['example'], query['next'], query['of']],
    async () => {
      if (query['from']) return stringify(requestOf(await client.run(query['from'])));
      if (query['next'] && query['of']) {
        const run = await client.run(query['of']);
        const newest = 'dataset' in run.spec ? undefined : (await client.datasets({ limit: 1 })).items[0]?.name;
        return nextText(query['next'], run, newest);
      }
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
        dataset: datasets.items[0]?.name ?? NO_NAMES.dataset,
        train: datasets.items[0]?.manifest.splits.train,
        encoder: trained(encoders.items[0]),
        autoencoder: trained(autoencoders.items[0]),
      };
    },
    { live: false },
  );
  if (start.error) return <Fault error={start.error} />;
  if (start.isPending || (names.isPending && !names.error)) return <Skeleton lines={10} />;
  const given = names.data ?? NO_NAMES;
  const example = EXAMPLES[query['example'] ?? ''];
  return (
    <Composer
      key={`${query['from']} ${query['sweep']} ${query['example']} ${query['next']} ${query['of']}`}
      start={
        start.data ??
        example?.text(given) ??
        sessionStorage.getItem(DRAFT) ??
        EXAMPLES[firstExample(given)]!.text(given)
      }
      names={given}
    />
  );
}

/** The text in an editor in `box`, kept as a draft, and its plan as of `checked.of`, the text that was checked. */
function useEditor(start: string, onSubmit: (text: string, checked: Checked) => void) {
  const [text, setText] = useState(start);
  const box = useRef<HTMLDivElement>(null);
  const editor = useRef<Editor>(undefined);
  const [checked, setChecked] = useState<Checked & { of?: string }>({ troubles: [] });
  const submitNow = useEffectEvent(() => onSubmit(text, checked));
  const begin = useEffectEvent(() => text);
  useEffect(() => {
    const change = (next: string) => {
      sessionStorage.setItem(DRAFT, next);
      setText(next);
    };
    const created = (editor.current = new Editor(box.current!, begin(), change, () => submitNow()));
    return () => created.destroy();
  }, []);
  useEffect(() => {
    const stop = new AbortController();
    const show = (next: Checked) => {
      if (stop.signal.aborted) return;
      setChecked({ ...next, of: text });
      editor.current?.mark(next.troubles);
    };
    const plan = async () => show(await planOf(parseSubmission(text)));
    const failed = () => show({ troubles: [], general: 'The API does not answer; it is asked again for the plan.' });
    const timer = setTimeout(() => void persistently(plan, { signal: stop.signal, failed }), TYPED_MS);
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [text]);
  const replace = (next: string) => {
    if (editor.current) editor.current.text = next;
  };
  return { text, box, checked, replace, show: (place: number) => editor.current?.show(place) };
}

/** Submits the run or sweep of a text. @returns the address of its page */
async function submitText(text: string): Promise<string> {
  const parsed = parseSubmission(text);
  if ('troubles' in parsed) throw new Error(parsed.troubles[0]!.message);
  const { submission } = parsed;
  if (submission.type === 'sweep') return link(`sweeps/${(await client.submitSweep(submission.request)).sweep.id}`);
  return link(`runs/${(await client.submitRun(submission.request)).run.id}`);
}

function Composer({ start, names }: { start: string; names: Names }) {
  const submit = useMutation({
    mutationFn: submitText,
    onSuccess: (address) => {
      sessionStorage.removeItem(DRAFT);
      void refresh();
      location.hash = address;
    },
  });
  const { text, box, checked, replace, show } = useEditor(start, (written, { plan }) => {
    if (plan && !submit.isPending) submit.mutate(written);
  });
  const parsed = useMemo(() => parseSubmission(text), [text]);
  // What was refused when it was submitted is told as what is refused while one types, until it is changed.
  const refused =
    submit.error && submit.variables === text && 'locate' in parsed ? troublesOf(submit.error, parsed.locate) : [];
  const troubles = refused.length > 0 ? refused : checked.troubles;
  // The form shows nothing while the text can't be parsed.
  const draft = 'draft' in parsed ? parsed.draft : undefined;
  const example = Object.entries(EXAMPLES).find(([, each]) => each.text(names) === text)?.[0] ?? '';
  return (
    <>
      <h1>New sweep or run</h1>
      <div className="controls">
        <Choice
          label="Begin with"
          value={example}
          onChange={(name) => replace(EXAMPLES[name]!.text(names))}
          options={Object.entries(EXAMPLES).map(([name, { title }]) => [name, title] as const)}
        />
      </div>
      <div className="columns compose">
        <div className="editor" ref={box} />
        <div>
          <PlanPanel
            text={text}
            checked={{ ...checked, troubles }}
            checking={checked.of !== text}
            submitting={submit.isPending}
            error={refused.length > 0 ? null : submit.error}
            onShow={show}
            onSubmit={() => submit.mutate(text)}
          />
          {draft && <SpecForm text={text} draft={draft} troubles={troubles} onChange={replace} />}
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
