import { isTerminal, type Embed, type Run } from '#libs/contracts';
import { useMutation } from '@tanstack/react-query';
import { client, refresh, useLive } from '../data/queries.js';
import type { Latent } from './latent-run.js';
import { momentsOf } from './latent.js';

/** Checkpoints of the run that is mapped, each with the run that mapped it; undefined until they are known. */
function useMoments(id: string, spec: Embed | undefined) {
  const moments = useLive(
    ['checkpoints', id],
    async () => {
      const steps = new Set<number>();
      for await (const { kind, step } of client.eachArtifact(spec!.from))
        if (kind === 'checkpoint' && step !== null) steps.add(step);
      return momentsOf(spec!, (await client.runs({ kind: ['embed'], parent: spec!.from, limit: 500 })).items, [
        ...steps,
      ]);
    },
    { enabled: spec !== undefined, live: (all) => all.some(({ map }) => map && !isTerminal(map.status)) },
  );
  return moments.data;
}

/** Submits maps of checkpoints, by their steps, each turned onto the map of `run`. */
function useMapping({ id, name, tags, priority }: Run, spec: Embed | undefined) {
  return useMutation({
    mutationFn: (steps: number[]) =>
      Promise.all(
        steps.map((step) =>
          client.submitRun({
            spec: { ...spec!, checkpoint: step, alignTo: id },
            name: `${name ?? 'map'}-at-${step}`.slice(-128).replace(/^[^A-Za-z0-9]+/, ''),
            tags,
            priority,
          }),
        ),
      ),
    onSettled: () => void refresh(),
  });
}

/**
 * How the space came to be: the map after each checkpoint of the run that is mapped, all turned onto the one that is
 * looked at.
 */
export function Checkpoints({
  latent: { run, file },
  at,
  onChange,
}: {
  latent: Latent;
  at: string | undefined;
  onChange: (id: string) => void;
}) {
  const spec = run.spec.kind === 'embed' ? run.spec : undefined;
  const moments = useMoments(run.id, spec);
  const start = useMapping(run, spec);
  if (!spec || !moments || moments.length < 2) return null;
  const mapped = moments
    .filter(({ map, step }) => map?.status === 'succeeded' || step === (spec.checkpoint ?? null))
    .map((moment) => (moment.step === (spec.checkpoint ?? null) ? { ...moment, map: run } : moment));
  const place = Math.max(
    0,
    mapped.findIndex(({ map }) => map!.id === (at ?? run.id)),
  );
  const lacking = moments
    .filter(({ step, map }) => step !== null && map === undefined && step !== (spec.checkpoint ?? null))
    .map(({ step }) => step!);
  const underWay = moments.filter(({ map }) => map && !isTerminal(map.status)).length;
  const word = (step: number | null) => (step === null ? 'at the end' : `after ${step.toLocaleString('en')} steps`);
  return (
    <div className="controls moments">
      {mapped.length > 1 && (
        <label>
          Checkpoint{' '}
          <input
            type="range"
            min={0}
            max={mapped.length - 1}
            value={place}
            aria-valuetext={word(mapped[place]!.step)}
            onChange={({ target }) => onChange(mapped[Number(target.value)]!.map!.id)}
          />{' '}
          <output>{word(mapped[place]!.step)}</output>
        </label>
      )}
      {underWay > 0 && (
        <span className="dim" role="status">
          {underWay} {underWay === 1 ? 'checkpoint is' : 'checkpoints are'} being mapped …
        </span>
      )}
      {lacking.length > 0 && (
        <button
          disabled={start.isPending}
          onClick={() => start.mutate(lacking)}
          title={`Runs of kind embed of ${file.rows.length} samples, turned onto this map`}
        >
          Map {lacking.length === 1 ? `the checkpoint of step ${lacking[0]}` : `${lacking.length} checkpoints`} too
        </button>
      )}
      {start.error && (
        <span className="bad" role="alert">
          {start.error.message}
        </span>
      )}
    </div>
  );
}
