/** The data that a user gave is at fault. The run fails with this message and the worker goes on. */
export class InvalidDataError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'InvalidDataError';
  }
}

const NAMED = 20;

/** Names as a message tells them: the first few, and how many more there are. */
export const named = (names: readonly string[]): string =>
  names.slice(0, NAMED).join(', ') + (names.length > NAMED ? ` and ${names.length - NAMED} more` : '');
