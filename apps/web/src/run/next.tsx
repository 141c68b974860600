/** What can be done with the result of a run: links to New, filled in. */
import { PARENT_KINDS, type Run, type RunKind } from '#libs/contracts';
import { link } from '../route.js';
import { Panel } from '../ui/panel.js';

const WORDS: Partial<Record<RunKind, string>> = {
  pretrain: 'Pretrain',
  autoencode: 'Autoencode',
  embed: 'Map',
  finetune: 'Finetune',
  evaluate: 'Evaluate',
  export: 'Export',
  distill: 'Distill',
  interpolate: 'Walk',
};

/** Kinds of runs that take the result of this one: trainings of a dataset, or what takes a network of its kind. */
export function nextKinds({ kind, spec }: Pick<Run, 'kind' | 'spec'>): RunKind[] {
  // Of what was only looked at there is no dataset.
  if (spec.kind === 'prepare-dataset') return spec.dryRun ? [] : ['pretrain', 'autoencode'];
  const segments = spec.kind === 'finetune' && spec.task === 'segmentation';
  // Of what is masked there is no latent vector to walk in.
  const isMasked = spec.kind === 'autoencode' && spec.variant === 'masked';
  return followers(kind).filter((next) => !(next === 'distill' && segments) && !(next === 'interpolate' && isMasked));
}

const followers = (kind: RunKind): RunKind[] =>
  (Object.keys(WORDS) as RunKind[]).filter((next) => PARENT_KINDS[next].includes(kind));

export function Next({ run }: { run: Run }) {
  const kinds = run.status === 'succeeded' ? nextKinds(run) : [];
  return kinds.length === 0 ? null : (
    <Panel title="What comes next">
      <Links kinds={kinds} of={run.id} />
    </Panel>
  );
}

/** The same of a run of a kind whose specs make no difference, where only its id is known. */
export const NextLinks = ({ kind, of }: { kind: RunKind; of: string }) => <Links kinds={followers(kind)} of={of} />;

const Links = ({ kinds, of }: { kinds: readonly RunKind[]; of: string }) => (
  <p className="actions">
    {kinds.map((kind) => (
      <a key={kind} className="button" href={link('new', { next: kind, of })}>
        {WORDS[kind]}
      </a>
    ))}
  </p>
);
