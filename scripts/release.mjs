#!/usr/bin/env node
/**
 * `npm run release -- 0.2.0`: the version in package.json and the lockfile, what is unreleased in CHANGELOG.md under
 * it, a commit and a tag. Nothing is pushed. `--notes 0.2.0` prints the section of a version instead.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';

const ROOT = path.join(import.meta.dirname, '..');
const CHANGELOG = path.join(ROOT, 'CHANGELOG.md');
const VERSION = /^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$/;

/**
 * What stands under the heading of a version; undefined where there is no such heading.
 * @param {string} changelog
 * @param {string} version
 */
export function sectionOf(changelog, version) {
  const sections = changelog.split(/^## /m).slice(1);
  const found = sections.find((section) => section.split(/\s/, 1)[0] === version);
  return found?.slice(found.indexOf('\n') + 1).trim();
}

/**
 * The changelog with what was unreleased under a version and its day.
 * @param {string} changelog
 * @param {string} version
 * @param {string} day as 2026-11-29
 * @throws Error where nothing is unreleased, or the version is there already
 */
export function released(changelog, version, day) {
  if (!sectionOf(changelog, 'Unreleased'))
    throw new Error('expected changes under "## Unreleased" in CHANGELOG.md, found none: say what changes for users');
  if (sectionOf(changelog, version) !== undefined)
    throw new Error(`expected a version that CHANGELOG.md does not have, got ${version}`);
  return changelog.replace(/^## Unreleased\n/m, `## Unreleased\n\n## ${version} — ${day}\n`);
}

const git = (...args) => execFileSync('git', args, { cwd: ROOT, encoding: 'utf8' }).trim();

function release(version) {
  if (!VERSION.test(version ?? ''))
    throw new Error(`expected a version such as 0.2.0, got ${version ?? 'none'}: npm run release -- 0.2.0`);
  if (git('status', '--porcelain'))
    throw new Error('expected a checkout without changes: commit or stash them, and run it again');
  const changelog = released(readFileSync(CHANGELOG, 'utf8'), version, new Date().toISOString().slice(0, 10));
  execFileSync('npm', ['version', version, '--no-git-tag-version'], { cwd: ROOT, stdio: 'ignore' });
  writeFileSync(CHANGELOG, changelog);
  git('commit', '--all', '--message', `Version ${version}`);
  git('tag', '--annotate', `v${version}`, '--message', `Version ${version}`);
  process.stdout.write(`tagged v${version}; \`git push --follow-tags\` publishes it\n`);
}

if (import.meta.main) {
  const { values, positionals } = parseArgs({ options: { notes: { type: 'string' } }, allowPositionals: true });
  try {
    if (values.notes === undefined) release(positionals[0]);
    else {
      const section = sectionOf(readFileSync(CHANGELOG, 'utf8'), values.notes);
      if (section === undefined) throw new Error(`expected a version of CHANGELOG.md, got ${values.notes}`);
      process.stdout.write(`${section}\n`);
    }
  } catch (error) {
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 2;
  }
}
