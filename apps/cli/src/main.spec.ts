import type { Command } from 'commander';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { completionScript, SHELLS } from './completion.js';
import { SubmissionFile } from './document.js';
import { program } from './main.js';
import { starterSweep } from './starter.js';

const below = (command: Command, words: string[] = []): { words: string[]; command: Command }[] =>
  command.commands.flatMap((inner) => [
    { words: [...words, inner.name()], command: inner },
    ...below(inner, [...words, inner.name()]),
  ]);
const commands = below(program);

/** The whole help, also what is added after it. */
function help(command: Command): string {
  let text = '';
  command
    .configureOutput({
      writeOut: (part) => {
        text += part;
      },
    })
    .outputHelp();
  return text;
}

describe.each(commands)('loom $words', ({ words, command }) => {
  test('has a help with examples that use it, with options that exist', () => {
    expect(command.description(), 'a description').not.toBe('');
    for (const option of command.options) expect(option.description, option.flags).not.toBe('');
    const [, examples] = help(command).split('\nExamples:\n');
    expect(examples, 'examples: add some to examples.ts').toBeDefined();
    const used = examples!
      .split(/\n|&&|\||;|\$\(|\)/)
      .map((part) => part.trim().split(/\s+/))
      .filter(([first]) => first === 'loom')
      .map((parts) => parts.slice(1));
    expect(used.length).toBeGreaterThan(0);
    expect(
      used.some((parts) => words.every((word, i) => parts[i] === word)),
      `one of ${words.join(' ')}`,
    ).toBe(true);
    for (const parts of used) {
      const named = commands
        .toSorted((a, b) => b.words.length - a.words.length)
        .find((other) => other.words.every((word, i) => parts[i] === word));
      expect(named, parts.join(' ')).toBeDefined();
      const options = [...named!.command.options, ...program.options];
      const known = options.flatMap(({ long, short }) => [long, short]);
      // A value may begin with a - too, as in --sort -createdAt.
      const isValue = (i: number) =>
        options.some(({ long, short, required }) => required && [long, short].includes(parts[i - 1]));
      for (const part of parts.filter((each, i) => /^-[-a-z]/.test(each) && !isValue(i)))
        expect(known, parts.join(' ')).toContain(part);
    }
  });
});

/** What bash offers for a line whose last word is being typed. */
function completed(line: string, cwd = import.meta.dirname): string[] {
  const words = line.split(' ');
  const script =
    `${completionScript(program, 'bash')}\nCOMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); ` +
    `COMP_CWORD=${words.length - 1}; _loom; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout, stderr, status } = spawnSync('bash', ['--norc', '-c', script], { cwd, encoding: 'utf8' });
  expect([status, stderr]).toEqual([0, '']);
  return stdout.trim() === '' ? [] : stdout.trim().split('\n');
}

describe('completion', () => {
  test('bash completes commands, options, and values that are known', async () => {
    expect(completed('loom w')).toEqual(['why', 'watch', 'workers']);
    expect(completed('loom --json --url http://x da')).toEqual(['datasets']);
    expect(completed('loom datasets ')).toEqual(expect.arrayContaining(['list', 'add']));
    // An alias is known where it is written, and not offered beside its command.
    expect(completed('loom datasets rm --js')).toEqual(['--json']);
    expect(completed('loom datasets l')).toEqual(['list']);
    expect(completed('loom datasets add --im')).toEqual(['--image-size']);
    expect(completed('loom runs --status r')).toEqual(['running', 'retrying']);
    // As bash takes --status=r apart.
    expect(completed('loom runs --status = r')).toEqual(['running', 'retrying']);
    expect(completed('loom runs --status running,que')).toEqual(['running,queued']);
    expect(completed('loom cancel --kind fine')).toEqual(['finetune']);
    expect(completed('loom export --format o')).toEqual(['onnx']);
    expect(completed('loom runs --js')).toEqual(['--json']);
    expect(completed('loom completion ')).toEqual([...SHELLS]);
    expect(completed('loom runs --limit ')).toEqual([]);
    // The value of an option is no command.
    expect(completed('loom --dir datasets ru')).toEqual(['runs', 'run']);
    const dir = await mkdtemp(path.join(tmpdir(), 'loom-completion-'));
    try {
      await writeFile(path.join(dir, 'sweep.yaml'), '');
      expect(completed('loom submit sw', dir)).toEqual(['sweep.yaml']);
      expect(completed('loom demo --out sw', dir)).toEqual(['sweep.yaml']);
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  });

  test.each(SHELLS)('%s is told of every command, option and value', (shell) => {
    const script = completionScript(program, shell);
    for (const { words, command } of commands) {
      expect(script).toContain(words.at(-1));
      for (const { long, argChoices } of command.options)
        for (const word of [shell === 'fish' ? `-l ${long!.slice(2)}` : long!, ...(argChoices ?? [])])
          expect(script, words.join(' ')).toContain(word);
    }
  });

  test.each(SHELLS.filter((shell) => spawnSync(shell, ['--version']).status === 0))(
    '%s finds no fault in its script',
    (shell) => {
      const { status, stderr } = spawnSync(shell, ['-n'], {
        input: completionScript(program, shell),
        encoding: 'utf8',
      });
      expect([status, stderr]).toEqual([0, '']);
    },
  );
});

test('the sweep to start from is valid, of the dataset that was asked for', () => {
  const { submission } = SubmissionFile.parse(starterSweep('digits'), 'sweep.yaml');
  if (submission.type !== 'sweep') throw new Error('expected a sweep');
  expect(Object.values(submission.request.spec.stages).map(({ dataset }) => dataset)).toEqual(['digits', 'digits']);
});

test('what is commented out in it is valid too', () => {
  const text = starterSweep('digits');
  const lines = text.split('\n').filter((each) => /^ *# [A-Za-z_.]+: [^ ]/.test(each));
  expect(lines.map((line) => /# ([^:]+)/.exec(line)![1])).toEqual([
    'collapseBelow',
    'pretrain.temperature',
    'augmentations',
    'seeds',
    'parallel_trials',
    'max_failed_trials',
    'budget',
  ]);
  for (const line of lines) {
    const open = text.replace(line, line.replace('# ', ''));
    // Augmentations are given in the one way or in the other.
    expect(
      () =>
        SubmissionFile.parse(
          line.includes('augmentations') ? open.replace(/^parameters:\n(.+\n)+/m, '') : open,
          'sweep.yaml',
        ),
      line,
    ).not.toThrow();
  }
});

test('its version is that of the package', () => {
  const { version } = JSON.parse(readFileSync(path.resolve(import.meta.dirname, '../../../package.json'), 'utf8')) as {
    version: string;
  };
  expect(program.version()).toBe(version);
});
