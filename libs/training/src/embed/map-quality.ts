/** Metrics and report of the quality of maps. */
import type { Embed } from '#libs/contracts';
import { Random } from '#libs/data';
import type { Pause } from '../evaluation.js';
import type { Points } from '../manifold/points.js';
import {
  geometryOf,
  knnPurity,
  neighboursKept,
  silhouette,
  trustworthiness,
  type Geometry,
} from '../manifold/quality.js';
import type { MapName, Maps } from './maps.js';

/** Most points whose pairs are all compared; of more, so many are drawn by the run's seed. */
const QUALITY_SAMPLES = 2000;
const QUALITY_NEIGHBOURS = 15;

interface Separation {
  silhouette?: number;
  knnPurity?: number;
  silhouettePerClass?: Record<string, number>;
}
interface QualityReport {
  samples: number;
  neighbours: number;
  embedding: Separation;
  maps: Partial<Record<MapName, Separation & { trustworthiness: number; neighboursKept: number }>>;
}

/** Quality on at most `QUALITY_SAMPLES` points; without what needs classes where samples have none, or all one. */
export async function qualityOf(
  spec: Embed,
  points: Points,
  maps: Maps,
  labels: Int32Array | undefined,
  classes: readonly string[],
  pause: Pause,
): Promise<{ metrics: Record<string, number>; report: QualityReport }> {
  const count = points.values.length / points.width;
  const chosen =
    count <= QUALITY_SAMPLES
      ? Int32Array.from({ length: count }, (_, i) => i)
      : Random.seeded(spec.seed, 'quality').permutation(count).slice(0, QUALITY_SAMPLES).sort();
  const k = Math.min(QUALITY_NEIGHBOURS, Math.ceil(chosen.length / 2) - 1);
  const ofChosen = ({ values, width }: Points): Points => ({
    width,
    values: Float64Array.from(
      { length: chosen.length * width },
      (_, place) => values[chosen[Math.floor(place / width)]! * width + (place % width)]!,
    ),
  });
  const chosenLabels = labels && Int32Array.from(chosen, (place) => labels[place]!);
  const separation = (geometry: Geometry): Separation => {
    if (!chosenLabels || new Set(chosenLabels).size < 2) return {};
    const each = silhouette(geometry, chosenLabels);
    const mean = (values: Float64Array) => values.reduce((sum, value) => sum + value, 0) / values.length;
    const perClass = classes.flatMap((name, label) => {
      const own = each.filter((_, i) => chosenLabels[i] === label);
      return own.length > 0 ? [[name, mean(own)] as const] : [];
    });
    return {
      silhouette: mean(each),
      knnPurity: knnPurity(geometry, chosenLabels),
      silhouettePerClass: Object.fromEntries(perClass),
    };
  };
  const space = await geometryOf(ofChosen(points), k, pause);
  const report: QualityReport = { samples: chosen.length, neighbours: k, embedding: separation(space), maps: {} };
  const metrics: Record<string, number> = {};
  const note = (prefix: string, { silhouette: separated, knnPurity: purity }: Separation) => {
    if (separated !== undefined && purity !== undefined)
      Object.assign(metrics, { [`${prefix}/silhouette`]: separated, [`${prefix}/knn_purity`]: purity });
  };
  note('embedding', report.embedding);
  for (const [name, { coordinates, alignment }] of maps) {
    const map = await geometryOf(ofChosen({ values: coordinates, width: 2 }), k, pause);
    const quality = {
      trustworthiness: trustworthiness(space, map),
      neighboursKept: neighboursKept(space, map),
      ...separation(map),
    };
    report.maps[name] = quality;
    metrics[`map/${name}/trustworthiness`] = quality.trustworthiness;
    metrics[`map/${name}/neighbours_kept`] = quality.neighboursKept;
    note(`map/${name}`, quality);
    if (alignment) metrics[`map/${name}/disparity`] = alignment.disparity;
  }
  return { metrics, report };
}
