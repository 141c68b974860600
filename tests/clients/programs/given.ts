/** What a program is given, and what it says at its end. */
declare const process: { argv: string[] };

export const [, , url = '', dataset = ''] = process.argv;
export const show = (run: unknown, listed: number | undefined): void => console.log(JSON.stringify({ run, listed }));
