import { Augmentation, AUGMENTATIONS, Views, type Estimate, type SweepTable } from '#libs/contracts';

type Row = Pick<SweepTable['rows'][number], 'parameters' | 'knn' | 'accuracy'>;
type Name = (typeof AUGMENTATIONS)[number];

/** How good augmentation i is together with j; i alone on the diagonal. */
export interface Composition {
  names: Name[];
  /** What the cells are: `accuracy 0.01` is that at label fraction 0.01. */
  measure: string;
  /** Whether both views had what a cell names, or only one, the other what all rows have. */
  branches: 'both' | 'one';
  cells: (Estimate | null)[][];
}

/**
 * The composition matrix of SimCLR (Chen et al. 2020, figure 5) from a sweep's rows: those that differ in the
 * augmentation of one stage alone and have one or two of its names beside what all rows have: in both views, or in the
 * first while the second has what all rows have. Augmentations are applied in one order, so that the matrix is
 * symmetric. Measured by accuracy at
 * the fewest labels, where something was finetuned, else by kNN. Null where no two augmentations were tried together
 * and apart.
 */
export function compositionOf(rows: readonly Row[]): Composition | null {
  const tried: { row: Row; names: Name[]; other: Name[] | null }[] = [];
  for (const row of rows) {
    const seen = seenBy(row);
    // One that differs in anything else is enough: of ten thousand the others need not be looked at.
    if (!seen) return null;
    tried.push({ row, ...seen });
  }
  if (tried.length < 3) return null;
  const one = tried.every(({ other }) => other);
  const common = AUGMENTATIONS.filter((name) => tried.every(({ names }) => names.includes(name)));
  // Of pairs on one branch, the other has what all have and no more.
  if (tried.some(({ other }) => (other ? !one || other.join() !== common.join() : one))) return null;
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
    branches: one ? 'one' : 'both',
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

/** What a row's first view has, and its second where that is another (null where both are made alike). */
function seenBy({ parameters }: Row): { names: Name[]; other: Name[] | null } | undefined {
  const [path, ...others] = Object.keys(parameters);
  const field = path?.split('.').at(-1);
  if (!others.every((each) => each.endsWith(`.${field}`))) return undefined;
  const namesOf = (augmentation: Augmentation) => AUGMENTATIONS.filter((name) => augmentation[name] !== undefined);
  if (field === 'augmentation') {
    const parsed = Augmentation.safeParse(parameters[path!]);
    return parsed.success ? { names: namesOf(parsed.data), other: null } : undefined;
  }
  const views = field === 'views' ? Views.safeParse(parameters[path!]).data : undefined;
  if (typeof views !== 'object' || views.length !== 2) return undefined;
  return { names: namesOf(views[0]!.augmentation), other: namesOf(views[1]!.augmentation) };
}
