/** The files that the samples of a map were made of. */
import { client, useLive } from '../data/queries.js';
import type { MapsFile } from './latent.js';

/** Bytes of a list that a page still reads. */
const LARGEST = 64e6;

/**
 * The path of a point's file in its source, by its place in the map; undefined while it is not known, and for versions
 * that were prepared before paths were kept.
 */
export function usePaths({ dataset, split, rows }: MapsFile): (point: number) => string | undefined {
  const paths = useLive(
    ['paths', dataset, split],
    async () => {
      const { runId } = await client.dataset(dataset);
      for await (const { id, name, sizeBytes } of client.eachArtifact(runId))
        if (name === `${split}-paths.txt` && sizeBytes <= LARGEST)
          return (await (await fetch(client.artifactUrl(runId, id))).text()).split('\n');
      return [];
    },
    { live: false },
  );
  return (point) => paths.data?.[rows[point]!] || undefined;
}
