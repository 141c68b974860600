/** How combinations of a sweep differ on the same labels, and what each augmentation is worth by that. */
import { Augmentation, AUGMENTATIONS, canonicalJson, type Estimate } from '#libs/contracts';
import { estimateMean } from './statistics.js';

/**
 * A value that a trial came to. `pair`: trials of different combinations with the same one saw the same labels and
 * seeds.
 */
export interface Outcome {
  combo: string;
  parameters: Record<string, unknown>;
  pair: string;
  value: number;
}

/** Mean of the differences between two combinations on the same labels and seeds; null where they share none. */
export function pairedDifference(outcomes: readonly Outcome[], combo: string, reference: string): Estimate | null {
  const of = (name: string) =>
    new Map(
      [
        ...Map.groupBy(
          outcomes.filter((each) => each.combo === name),
          ({ pair }) => pair,
        ),
      ].map(([pair, some]) => [pair, some.reduce((sum, { value }) => sum + value, 0) / some.length]),
    );
  const baseline = of(reference);
  const differences = [...of(combo)].flatMap(([pair, value]) =>
    baseline.has(pair) ? [value - baseline.get(pair)!] : [],
  );
  return differences.length ? estimateMean(differences) : null;
}

/**
 * What each augmentation adds to all the others: the paired difference between the combination of all that were tried
 * and the one without it. Empty where trials differ in more than augmentations, or no combination of all was tried.
 */
export function leaveOneOutEffects(outcomes: readonly Outcome[]): { name: keyof Augmentation; effect: Estimate }[] {
  const combos = new Map<string, readonly (keyof Augmentation)[]>();
  const settings = new Map<string, string>();
  for (const { combo, parameters } of outcomes) {
    if (combos.has(combo)) continue;
    const [path, ...others] = Object.keys(parameters);
    const parsed =
      path?.endsWith('.augmentation') && others.every((other) => other.endsWith('.augmentation'))
        ? Augmentation.safeParse(parameters[path])
        : undefined;
    if (!parsed?.success) return [];
    combos.set(
      combo,
      AUGMENTATIONS.filter((name) => parsed.data[name] !== undefined),
    );
    for (const [name, strength] of Object.entries(parsed.data))
      settings.set(`${combo} ${name}`, canonicalJson(strength));
  }
  const all = AUGMENTATIONS.filter((name) => [...combos.values()].some((names) => names.includes(name)));
  const full = [...combos].find(([, names]) => names.length === all.length)?.[0];
  if (full === undefined) return [];
  return all.flatMap((name) => {
    // The others at the same strength: else it is not this one that makes the difference.
    const without = [...combos].find(
      ([combo, names]) =>
        names.length === all.length - 1 &&
        !names.includes(name) &&
        names.every((other) => settings.get(`${combo} ${other}`) === settings.get(`${full} ${other}`)),
    )?.[0];
    const effect = without === undefined ? null : pairedDifference(outcomes, full, without);
    return effect ? [{ name, effect }] : [];
  });
}
