import { Matrix, SingularValueDecomposition } from 'ml-matrix';

export interface Alignment {
  /** [N, 2] */
  map: Float64Array;
  scale: number;
  /** A row (x, y) becomes scale · (x, y) · rotation + translation. May mirror. */
  rotation: [[number, number], [number, number]];
  translation: [number, number];
  /**
   * Part of the target's squared spread that stays unexplained: 0 where the two are alike, 1 where they have nothing in
   * common.
   */
  disparity: number;
}

/**
 * Turns, mirrors, scales and moves `map` so that it lies on `target` with the least squared error (Gower 1975). Both
 * [N, 2], row by row.
 */
export function procrustes(map: Float64Array, target: Float64Array): Alignment {
  const count = map.length / 2;
  const centreOf = (points: Float64Array) =>
    [0, 1].map((axis) => points.reduce((sum, value, place) => (place % 2 === axis ? sum + value : sum), 0) / count) as [
      number,
      number,
    ];
  const [from, to] = [centreOf(map), centreOf(target)];
  const cross = Matrix.zeros(2, 2);
  let [spread, targetSpread] = [0, 0];
  for (let i = 0; i < count; i++) {
    for (const a of [0, 1] as const) {
      const x = map[2 * i + a]! - from[a];
      spread += x * x;
      targetSpread += (target[2 * i + a]! - to[a]) ** 2;
      for (const b of [0, 1] as const) cross.set(a, b, cross.get(a, b) + x * (target[2 * i + b]! - to[b]));
    }
  }
  const { leftSingularVectors, rightSingularVectors, diagonal } = new SingularValueDecomposition(cross);
  const rotation = leftSingularVectors.mmul(rightSingularVectors.transpose()).to2DArray() as Alignment['rotation'];
  const common = diagonal.reduce((sum, value) => sum + value, 0);
  const scale = spread > 0 ? common / spread : 1;
  const turned = (x: number, y: number, axis: 0 | 1) => scale * (x * rotation[0][axis] + y * rotation[1][axis]);
  const translation: [number, number] = [to[0] - turned(from[0], from[1], 0), to[1] - turned(from[0], from[1], 1)];
  const aligned = map.map((_, place) => {
    const [first, axis] = [place - (place % 2), (place % 2) as 0 | 1];
    return turned(map[first]!, map[first + 1]!, axis) + translation[axis];
  });
  return {
    map: aligned,
    scale,
    rotation,
    translation,
    disparity: spread > 0 && targetSpread > 0 ? Math.max(0, 1 - common ** 2 / (spread * targetSpread)) : 1,
  };
}
