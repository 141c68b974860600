/** What lies nearest to a picture or a sound that is no sample: sought in the space that was mapped. */
import { isTerminal } from '#libs/contracts';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { client, refresh, useLive } from '../data/queries.js';
import { Panel } from '../ui/panel.js';
import { RunLink, Status } from '../ui/run-status.js';
import type { Latent } from './latent-run.js';
import { nearestToVector, readFeatures } from './latent.js';
import { FoundList, LARGEST_FEATURES, NEIGHBOURS, type Found } from './neighbours.js';

const ENCODER = ['encoder.model.json', 'encoder.weights.bin'] as const;

/** The newest run that has exported the encoder of a map, or is about to. */
function useExport(parent: string | undefined) {
  return useLive(
    ['encoder', parent],
    async () => {
      const { items } = await client.runs({ kind: ['export'], parent: parent!, limit: 50 });
      const run = items.find(
        ({ spec, status }) =>
          spec.kind === 'export' && spec.formats.includes('tfjs') && (status === 'succeeded' || !isTerminal(status)),
      );
      if (run?.status !== 'succeeded') return { run, files: undefined };
      const urls = new Map<string, string>();
      for await (const { id, name } of client.eachArtifact(run.id)) urls.set(name, client.artifactUrl(run.id, id));
      const [topology, weights] = ENCODER.map((name) => urls.get(name));
      return { run, files: topology && weights ? { topology, weights } : undefined };
    },
    { enabled: parent !== undefined },
  );
}

/** The run whose encoder made a map; undefined for that of a checkpoint, whose weights are not exported. */
function encoderOf({ run: { spec, parents } }: Latent): string | undefined {
  if (spec.kind !== 'embed' || spec.checkpoint !== undefined) return undefined;
  return parents.find((id) => id === spec.from) ?? parents[0];
}

export function FileSearch({ latent, onPick }: { latent: Latent; onPick: (point: number) => void }) {
  const parent = encoderOf(latent);
  const exported = useExport(parent);
  const [found, setFound] = useState<Found[]>([]);
  const [file, setFile] = useState<File>();
  const search = useMutation({
    mutationFn: async (given: File) => {
      const { featuresOfFile } = await import('./encode.js');
      const [vector, space] = await Promise.all([
        featuresOfFile(given, exported.data!.files!),
        fetch(latent.features!.url).then(async (answer) => readFeatures(await answer.arrayBuffer())),
      ]);
      if (vector.length !== space.width)
        throw new Error(`expected an encoder of ${space.width} features, the exported one has ${vector.length}`);
      setFound(nearestToVector(space, vector, NEIGHBOURS));
    },
  });
  const submit = useMutation({
    mutationFn: () => client.submitRun({ spec: { kind: 'export', from: parent!, formats: ['tfjs'] } }),
    onSettled: () => void refresh(),
  });
  const isSmall = (latent.features?.bytes ?? Infinity) <= LARGEST_FEATURES;
  if (parent === undefined || !isSmall || !exported.data) return null;
  const { run, files } = exported.data;
  const error = search.error ?? submit.error;
  return (
    <Panel title="Search by a file of yours">
      {files ? (
        <label>
          A picture or a sound{' '}
          <input
            type="file"
            accept="image/*,audio/*"
            onChange={({ target }) => {
              const given = target.files?.[0];
              setFile(given);
              setFound([]);
              if (given) search.mutate(given);
            }}
          />
        </label>
      ) : (
        <p className="line start">
          {run ? (
            <>
              <RunLink run={run} /> <Status status={run.status} reason={run.statusReason} />
            </>
          ) : (
            <>
              The encoder of this map has to be exported once, for your browser to run it.{' '}
              <button disabled={submit.isPending} onClick={() => submit.mutate()}>
                Export it
              </button>
            </>
          )}
        </p>
      )}
      {search.isPending && <p role="status">Computing what the encoder makes of it …</p>}
      {error && (
        <p role="alert" className="bad">
          {error.message}
        </p>
      )}
      {file && found.length > 0 && (
        <>
          <p>Nearest to {file.name} in the space itself; it stays in your browser.</p>
          <FoundList latent={latent} found={found} onPick={onPick} />
        </>
      )}
    </Panel>
  );
}
