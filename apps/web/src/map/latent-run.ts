/** A run that has mapped a latent space, with what its files hold. */
import { runLabel, type Run } from '#libs/contracts';
import { client, useLive } from '../data/queries.js';
import { tagOf } from './chosen.js';
import type { MapsFile } from './latent.js';

export const MAP_NAMES: Record<string, string> = { pca: 'PCA', tsne: 't-SNE', umap: 'UMAP' };

export interface Latent {
  run: Run;
  file: MapsFile;
  atlas: readonly string[];
  features: { url: string; bytes: number } | undefined;
  metrics: Record<string, number>;
  name: string;
  /** Where what somebody has chosen and named is stored, by its name. */
  tags: ReadonlyMap<string, string>;
}

export function useLatent(id: string | undefined, { keep = false } = {}) {
  return useLive(
    ['latent', id],
    async (): Promise<Latent> => {
      const run = await client.run(id!);
      const artifacts = new Map<string, { url: string; bytes: number }>();
      for await (const each of client.eachArtifact(id!))
        artifacts.set(each.name, { url: client.artifactUrl(id!, each.id), bytes: each.sizeBytes });
      const maps = artifacts.get('maps.json');
      if (!maps)
        throw new Error(
          `expected a run that has mapped a latent space, ${runLabel(run)} (${run.kind}) has no maps.json: ` +
            `${run.status === 'succeeded' ? 'choose one of kind embed' : `it is ${run.status}`}`,
        );
      const answer = await fetch(maps.url);
      if (!answer.ok) throw new Error(`expected the maps of ${runLabel(run)}, got HTTP ${answer.status}`);
      const file = (await answer.json()) as MapsFile;
      const atlas = Array.from(
        { length: Math.ceil(file.atlas.points.length / (file.atlas.perFile ?? Infinity)) || 1 },
        (_, i) => artifacts.get(i === 0 ? 'atlas.webp' : `atlas-${i}.webp`)?.url ?? '',
      );
      return {
        run,
        file,
        atlas,
        features: artifacts.get('embeddings.npy'),
        metrics: run.result?.metrics ?? {},
        name: runLabel(run),
        tags: new Map(
          [...artifacts].flatMap(([each, { url }]) => {
            const tag = tagOf(each);
            return tag === undefined ? [] : [[tag, url] as const];
          }),
        ),
      };
    },
    { live: false, keep, enabled: id !== undefined },
  );
}

/** The picked and the selected points, shared by maps of the same samples. */
export interface Focus {
  picked: number | undefined;
  selected: readonly number[];
}

export const NOTHING: Focus = { picked: undefined, selected: [] };

export type Colour = 'class' | 'prediction' | 'error';

/** Properties that points can be coloured by, with their names. */
export const coloursOf = ({ labels, predictions }: MapsFile): [Colour, string][] => [
  ['class', 'Class'],
  ...(predictions ? ([['prediction', 'Prediction']] as [Colour, string][]) : []),
  ...(predictions && labels ? ([['error', 'Error']] as [Colour, string][]) : []),
];

export const labelOf = (file: MapsFile, point: number): string =>
  file.labels ? (file.classes[file.labels[point]!] ?? '') : '';
