import { Augmentation, AUGMENTATIONS, type Estimate, type SweepTable } from '#libs/contracts';

type Row = Pick<SweepTable['rows'][number], 'parameters' | 'knn' | 'accuracy'>;
type Name = (typeof AUGMENTATIONS)[number];

/** How good augmentation i is together with j; i alone on the diagonal. */
export interface Composition {
  names: Name[];
  /** What the cells are: `accuracy 0.01` is that at label fraction 0.01. */
  measure: string;
  cells: (Estimate | null)[][];
}

/**
 * The composition matrix of SimCLR (Chen et al. 2020, figure 5) from a sweep's rows: those that differ in the
 * augmentation of one stage alone and have one or two of its names beside what all rows have. Measured by accuracy at
 * the fewest labels, where something was finetuned, else by kNN. Null where no two augmentations were tried together
 * and apart.
 */
export function compositionOf(rows: readonly Row[]): Composition | null {
  const tried: { row: Row; names: Name[] }[] = [];
  for (const row of rows) {
    const [path, ...others] = Object.keys(row.parameters);
    const parsed =
      path?.endsWith('.augmentation') && others.every((other) => other.endsWith('.augmentation'))
        ? Augmentation.safeParse(row.parameters[path])
        : undefined;
    // One that differs in anything else is enough: of ten thousand the others need not be looked at.
    if (!parsed?.success) return null;
    tried.push({ row, names: AUGMENTATIONS.filter((name) => parsed.data[name] !== undefined) });
  }
  if (tried.length < 3) return null;
  const common = AUGMENTATIONS.filter((name) => tried.every(({ names }) => names.includes(name)));
  const cells = new Map<string, Row>();
  for (const { row, names } of tried) {
    const own = names.filter((name) => !common.includes(name));
    if (own.length === 1 || own.length === 2) cells.set(own.join(), row);
  }
  const names = AUGMENTATIONS.filter((name) => [...cells.keys()].some((key) => key.split(',').includes(name)));
  if (names.length < 2 || ![...cells.keys()].some((key) => key.includes(','))) return null;
  const fractions = [...new Set(rows.flatMap((row) => Object.keys(row.accuracy)))].sort(
    (a, b) => Number(a) - Number(b),
  );
  const [fraction] = fractions;
  return {
    names,
    measure: fraction === undefined ? 'kNN' : `accuracy ${fraction}`,
    cells: names.map((a, i) =>
      names.map((b, j) => {
        const pair = i < j ? `${a},${b}` : `${b},${a}`;
        const row = cells.get(i === j ? a : pair);
        return (fraction === undefined ? row?.knn : row?.accuracy[fraction]) ?? null;
      }),
    ),
  };
}
