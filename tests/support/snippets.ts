/** Commands and snippets of the documents, as their readers see them. */
import { readFile } from 'node:fs/promises';

export interface Snippet {
  /** `docs/sweeps.md:41`. */
  at: string;
  language: string;
  text: string;
  /** Why it is not run, by the comment above it: `<!-- not run: … -->`. */
  notRun: string | undefined;
  /** Keys of the file above that it is a part of, by the comment above it: `<!-- run with: name, stages -->`. */
  runWith: string[];
}

const comment = (line: string | undefined, what: string): string | undefined =>
  new RegExp(`^<!-- ${what}: (.+) -->$`).exec(line ?? '')?.[1];

/** The fenced blocks of a document, in order. */
export async function snippetsOf(file: string, name: string): Promise<Snippet[]> {
  const lines = (await readFile(file, 'utf8')).split('\n');
  const found: Snippet[] = [];
  for (let i = 0; i < lines.length; i++) {
    const language = /^```(.*)$/.exec(lines[i]!)?.[1];
    if (language === undefined) continue;
    const end = lines.indexOf('```', i + 1);
    const runWith = comment(lines[i - 1], 'run with');
    found.push({
      at: `${name}:${i + 1}`,
      language,
      text: lines.slice(i + 1, end).join('\n'),
      notRun: comment(lines[i - 1], 'not run'),
      runWith: runWith?.split(', ') ?? [],
    });
    i = end;
  }
  return found;
}

/** Texts in a line that are set as code, in the prose of a document. */
export async function inlineCode(file: string): Promise<string[]> {
  const prose = (await readFile(file, 'utf8')).replaceAll(/^```.*?^```$/gms, '');
  return [...prose.matchAll(/`([^`\n]+)`/g)].map(([, code]) => code!);
}
