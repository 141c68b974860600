/** Reports: pages of text, charts, tables and maps, written from files and taken out as HTML. */
import { faultsOf, ReplaceReport, WriteReport, type ListedReport, type LoomClient, type Report } from '#libs/contracts';
import type { Command } from 'commander';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { parseDocument } from 'yaml';
import type { z } from 'zod';
import { UsageError } from '../usage-error.js';
import { textGiven } from '../given-text.js';
import { client, out, show } from '../program.js';
import { runId, runIds, sweepId } from '../references.js';
import { age, table } from '../render.js';

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** The id of the report that is meant, by its id or its title. @throws UsageError where none is, or several are */
async function reportId(api: LoomClient, text: string): Promise<string> {
  if (UUID.test(text)) return text;
  const meant: ListedReport[] = [];
  for await (const report of api.eachReport()) if (report.title === text) meant.push(report);
  if (meant.length === 1) return meant[0]!.id;
  if (meant.length === 0)
    throw new UsageError(`expected the id or the title of a report, got ${text}: there is no such one`);
  throw new UsageError(`expected one report, but ${text} may be any of these: ${meant.map(({ id }) => id).join(', ')}`);
}

/** What a file says: a mapping, or the text of a file in Markdown as the only block. `-`: standard input. */
async function readReport(file: string): Promise<Record<string, unknown>> {
  const text = await textGiven(file);
  if (/\.(md|markdown)$/i.test(file)) {
    const heading = /^# +(.*)$/m.exec(text);
    const title = heading?.[1]?.trim() ?? path.basename(file).replace(/\.\w+$/, '');
    return { title, blocks: [{ type: 'text', markdown: heading ? text.replace(heading[0], '').trim() : text }] };
  }
  const document = parseDocument(text, { prettyErrors: true });
  const content: unknown = document.errors.length > 0 ? undefined : document.toJS({ maxAliasCount: 100 });
  if (typeof content === 'object' && content !== null && !Array.isArray(content))
    return content as Record<string, unknown>;
  throw new UsageError(
    `${file}: expected a report in YAML or JSON, with \`title\` and \`blocks\`, or a .md file in Markdown` +
      (document.errors[0] ? `: ${document.errors[0].message}` : ''),
  );
}

/** Puts ids in the place of what else blocks call runs and sweeps. @throws UsageError */
async function withIds(api: LoomClient, blocks: unknown): Promise<unknown> {
  if (!Array.isArray(blocks)) return blocks;
  return Promise.all(
    blocks.map(async (block: unknown): Promise<unknown> => {
      if (typeof block !== 'object' || block === null) return block;
      const { run, runs, sweep } = block as Record<string, unknown>;
      const names: unknown[] = Array.isArray(runs) ? runs : [];
      return {
        ...block,
        ...(typeof run === 'string' && { run: await runId(api, run) }),
        ...(names.length > 0 && names.every((each) => typeof each === 'string') && { runs: await runIds(api, names) }),
        ...(typeof sweep === 'string' && { sweep: await sweepId(api, sweep) }),
      };
    }),
  );
}

/** @throws UsageError with every fault of what a file says */
function checked<Schema extends z.ZodType>(file: string, schema: Schema, given: unknown): z.output<Schema> {
  const { data, error } = schema.safeParse(given, { reportInput: true });
  if (!error) return data;
  const faults = error.issues.flatMap(faultsOf).map((fault) => `${file}: ${fault.path.join('.')}: ${fault.message}`);
  throw new UsageError(faults.join('\n'));
}

async function listReports(): Promise<void> {
  const items: ListedReport[] = [];
  for await (const report of (await client()).eachReport()) items.push(report);
  show({ items }, () =>
    table(
      ['id', 'title', 'version', 'changed'],
      items.map(({ id, title, version, updatedAt }) => [id, title, String(version), age(updatedAt)]),
      out,
    ),
  );
}

const blockText = (block: Report['blocks'][number]): string => {
  switch (block.type) {
    case 'text':
      return `${block.markdown.trimEnd()}\n`;
    case 'chart':
      return `[chart of ${block.metric}: ${block.runs.join(', ')}]\n`;
    case 'table':
      return `[table of ${block.columns.join(', ')}: ${block.runs.join(', ')}]\n`;
    case 'sweep':
      return `[${block.figure} of sweep ${block.sweep}]\n`;
    case 'map':
      return `[map${block.map ? ` by ${block.map}` : ''} of run ${block.run}]\n`;
  }
};

export function addReports(program: Command): void {
  const reports = program
    .command('reports')
    .description('pages of text, charts, tables and maps that a team writes')
    .action(listReports);
  reports.command('list').alias('ls').description('list them, as `loom reports` alone does').action(listReports);
  reports
    .command('show <report>')
    .description('print one, meant by its id or title; with --json as `add` and `replace` take it')
    .action(async (text: string) => {
      const api = await client();
      const report = await api.report(await reportId(api, text));
      show(report, () => [`# ${report.title}\n`, ...report.blocks.map(blockText)].join('\n'));
    });
  reports
    .command('add <file>')
    .description('write one from a file: YAML or JSON with `title` and `blocks`, or Markdown (.md); - reads YAML')
    .action(async (file: string) => {
      const api = await client();
      const { title, blocks } = await readReport(file);
      const report = await api.addReport(checked(file, WriteReport, { title, blocks: await withIds(api, blocks) }));
      show(report, () => `report ${report.id} written\n`);
    });
  reports
    .command('replace <report> <file>')
    .description(
      'save a file in the place of a report; of one that was read by `show --json`, only if it is the newest',
    )
    .action(async (text: string, file: string) => {
      const api = await client();
      const id = await reportId(api, text);
      const given = await readReport(file);
      const version = given['version'] ?? (await api.report(id)).version;
      const edited = { title: given['title'], blocks: await withIds(api, given['blocks']), version };
      const report = await api.replaceReport(id, checked(file, ReplaceReport, edited));
      show(report, () => `report ${report.id} saved, version ${report.version}\n`);
    });
  reports
    .command('delete <report>')
    .alias('rm')
    .description('delete one')
    .action(async (text: string) => {
      const api = await client();
      await api.deleteReport(await reportId(api, text));
      show({ deleted: text }, () => `${text} deleted\n`);
    });
  reports
    .command('export <report>')
    .description('write one, with what it shows, as an HTML file that opens without a network')
    .option('--out <file>', 'the file (report-ID.html)')
    .option('--force', 'in the place of a file that is there')
    .action(async (text: string, { out: file, force }: { out?: string; force?: boolean }) => {
      const api = await client();
      const id = await reportId(api, text);
      const target = file ?? `report-${id}.html`;
      const html = await api.reportAsHtml(id);
      await writeFile(target, html, { flag: force ? 'w' : 'wx' }).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw error;
        throw new UsageError(`expected no file at ${target}, there is one: choose another by --out, or --force`);
      });
      show({ path: target, sizeBytes: Buffer.byteLength(html) }, () => `${target} written\n`);
    });
}
