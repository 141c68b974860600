/** What a run's end may say to users. */

/** A line of a stack: of JavaScript, or of a native crash. */
const FRAME = /^\s{0,16}(?:at |\d{1,3}: 0x[0-9a-f]|#\d{1,3} )/;
/** An absolute path of two parts or more; its last part is told. */
const PATH = /(?<![\w./:…~-])(?:file:\/\/)?(?:\/[\w.@+-]{1,255}){1,64}\/(?=[\w.@+-])/g;

/** The text without stacks, and with names in the place of the server's paths: those are for logs. */
export const tellable = (text: string): string =>
  text
    .split('\n')
    .filter((line) => !FRAME.test(line))
    .join('\n')
    .replaceAll(PATH, '…/');
