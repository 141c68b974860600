/** What is asked of somebody who adds a model, and the spec that it makes. Pure. */
import { faultsOf, ImportModel } from '#libs/contracts';
import type { z } from 'zod';

/** As they are typed; empty for what is usual. */
export interface Settings {
  name: string;
  path: string;
  /** The network that weights of other programs are of; empty where the file says it itself. */
  as: string;
  /** Numbers with commas between, one for each channel. */
  mean: string;
  std: string;
}

/** A name for the model of a file: its own, of the characters that names have. */
export const nameOfFile = (path: string): string =>
  (path.split('/').at(-1) ?? '')
    .replace(/\.(safetensors|json|index)$/i, '')
    .replaceAll(/[^\w.-]+/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 128);

const numbers = (text: string): number[] | undefined =>
  text.trim() === '' ? undefined : text.split(',').map((each) => (each.trim() === '' ? Number.NaN : Number(each)));

/** The spec of a run that takes the model in. */
export function specOf({ name, path, as, mean, std }: Settings): z.input<typeof ImportModel> {
  const normalisation = { mean: numbers(mean), std: numbers(std) };
  return {
    kind: 'import-model',
    name,
    path,
    ...(as && { as: as as NonNullable<ImportModel['as']> }),
    // What is missing of it is told as a fault of that field.
    ...((normalisation.mean || normalisation.std) && {
      normalisation: normalisation as NonNullable<ImportModel['normalisation']>,
    }),
  };
}

/** What is wrong with the settings by field of the spec, such as `normalisation.mean`, told without asking the API. */
export function faultsOfSettings(settings: Settings): Map<string, string> {
  const { error } = ImportModel.safeParse(specOf(settings), { reportInput: true });
  // A number of a list is part of what is typed in one field.
  return new Map(
    error?.issues
      .flatMap(faultsOf)
      .map(({ path, message }) => [path.filter((step) => typeof step === 'string').join('.'), message]),
  );
}
