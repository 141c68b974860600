/** Texts that would make a pattern of the code take time by the square of their length, or worse. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';
import { ListRuns } from '#libs/contracts';

const ROOT = path.resolve(import.meta.dirname, '../..');
/** Above so much processor time for the longest text a pattern has to show that its time grows with the length. */
const SUSPICIOUS_MS = 25;
const [SHORT, LONG] = [4000, 16_000];
/** What time may grow by where the text becomes four times as long: 16 were the square. */
const LINEAR = 9;

interface Pattern {
  at: string;
  regExp: RegExp;
}

function sources(folder: string): string[] {
  return readdirSync(path.join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => /\.tsx?$/.test(file) && !/\.(spec|d)\.ts$|generated\/|node_modules\//.test(file))
    .map((file) => path.join(folder, file));
}

/** Every regular expression that the code holds as a literal. */
function patterns(): Pattern[] {
  return ['libs', 'apps'].flatMap(sources).flatMap((file) => {
    const text = readFileSync(path.join(ROOT, file), 'utf8');
    const kind = file.endsWith('x') ? ts.ScriptKind.TSX : ts.ScriptKind.TS;
    const tree = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true, kind);
    const found: Pattern[] = [];
    const visit = (node: ts.Node): void => {
      if (ts.isRegularExpressionLiteral(node)) {
        const end = node.text.lastIndexOf('/');
        const { line } = tree.getLineAndCharacterOfPosition(node.getStart());
        found.push({
          at: `${file}:${line + 1} ${node.text}`,
          regExp: new RegExp(node.text.slice(1, end), node.text.slice(end + 1)),
        });
      }
      ts.forEachChild(node, visit);
    };
    visit(tree);
    return found;
  });
}

/** Texts of a length that repeat what the pattern repeats, after what it begins with, and then fail it. */
function* hostile({ source }: RegExp): Generator<(length: number) => string> {
  const literals = new Set(source.replaceAll(/\\[A-Za-z]|[[\]{}()*+?^$|\\]/g, ''));
  const pumps = new Set([
    'a',
    '0',
    ' ',
    '-',
    '.',
    '/',
    '\n',
    '"',
    ':',
    '0.',
    'a ',
    'a.',
    ...[...literals].slice(0, 12),
  ]);
  const begins = new Set(['', 'a', ...[...literals].slice(0, 8).map((character) => `a${character}`)]);
  for (const pump of pumps)
    for (const begin of begins) yield (length) => `${begin}${pump.repeat(length / pump.length)}\u0001`;
}

function processorMs(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

function growth({ regExp }: Pattern): number {
  const apply = (text: string) => processorMs(() => void text.replace(regExp, ''));
  /** The least of some: a single one may hold the pattern's compilation, or a collection of garbage. */
  const least = (text: string) => Math.min(...Array.from({ length: 4 }, () => apply(text)));
  for (const make of hostile(regExp)) {
    const [long, short] = [make(LONG), make(SHORT)];
    if (apply(long) < SUSPICIOUS_MS) continue;
    const slow = least(long);
    if (slow < SUSPICIOUS_MS) continue;
    const ratio = slow / Math.max(0.1, least(short));
    if (ratio > LINEAR) return ratio;
  }
  return 1;
}

describe('a text made to stall a pattern', () => {
  const all = patterns();

  test('finds every literal of the code', () => {
    expect(all.length).toBeGreaterThan(80);
  });

  test('costs time by its length, for every pattern of the code', () => {
    const slow = all.map((pattern) => ({ at: pattern.at, grows: growth(pattern) })).filter(({ grows }) => grows > 1);
    expect(slow).toEqual([]);
  }, 120_000);

  test('as a condition of a list is refused before a pattern sees it', () => {
    const text = `loss>${'1'.repeat(60_000)}x`;
    let refused = false;
    expect(processorMs(() => (refused = !ListRuns.safeParse({ where: text }).success))).toBeLessThan(100);
    expect(refused).toBe(true);
  });
});
