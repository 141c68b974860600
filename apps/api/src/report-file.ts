/** A report as one HTML file: its content as JSON beside the program that draws it. It asks nobody for anything. */
import {
  blockContent,
  CHART_POINTS,
  Run,
  type BlockContent,
  type Report,
  type ReportSource,
  type SweepTable,
} from '#libs/contracts';
import {
  CorruptArtifactError,
  RequestError,
  type ArtifactStore,
  type ReportRecord,
  type RunQueries,
  type SweepQueries,
  type SweepResults,
} from '#libs/platform';
import { HttpException } from '@nestjs/common';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';

/** The largest file of maps that is read for a report. */
const MOST_BYTES = 64 * 2 ** 20;
const FILES_AT_ONCE = 500;

/** What a report shows, from the stores of this process. */
export class StoredSource implements ReportSource {
  constructor(
    private readonly runs: RunQueries,
    private readonly sweeps: SweepQueries,
    private readonly found: SweepResults,
    private readonly artifacts: ArtifactStore,
  ) {}

  async run(id: string): Promise<Run> {
    return Run.parse((await this.runs.run(id)) ?? gone('run'));
  }

  async curve(runId: string, metric: string) {
    const [series] = await this.runs.metrics(runId, { key: [metric], points: CHART_POINTS });
    return (series?.points ?? []).map((point) => ({ ...point, at: point.at.toISOString() }));
  }

  async sweep(id: string) {
    return (await this.sweeps.record(id)) ?? gone('sweep');
  }

  async results(id: string): Promise<SweepTable> {
    return (await this.found.table(id)) ?? gone('sweep');
  }

  async maps({ id }: Run): Promise<unknown> {
    const { items } = await this.runs.artifacts(id, { limit: FILES_AT_ONCE });
    const file = items.findLast(({ name }) => name === 'maps.json');
    if (!file) return undefined;
    if (file.sizeBytes > MOST_BYTES)
      throw new RequestError(
        'payload_too_large',
        `expected a maps.json of at most ${MOST_BYTES} bytes, it has ${file.sizeBytes}`,
      );
    const pieces: Buffer[] = [];
    for await (const piece of this.artifacts.checked(file.sha256)) pieces.push(piece);
    try {
      return JSON.parse(Buffer.concat(pieces).toString('utf8')) as unknown;
    } catch {
      return undefined;
    }
  }

  absence(error: unknown): string | undefined {
    return error instanceof RequestError || error instanceof CorruptArtifactError ? error.message : undefined;
  }
}

const gone = (what: string): never => {
  throw new RequestError('not_found', `there is no such ${what} any more`);
};

/** What the file holds beside its program. */
export interface OfflineReport {
  report: Report;
  contents: BlockContent[];
  /** When it was made, ISO 8601. */
  at: string;
  /** Where the dashboard is that it was taken from, for links to runs. */
  dashboard: string;
}

/** What of a JSON text could end the element that it stands in, as the escape that means the same. */
const inElement = (json: string): string => json.replaceAll('<', String.raw`\u003c`);
const escaped = (text: string): string =>
  text.replace(/[&<>"]/g, (sign) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[sign]!);

/** What in a program could end its element, or keep the end from being seen. Only its texts have such. */
const ENDS_SCRIPT = /<(\/?script|!--)/gi;

/** The program and its style, as the build has made them. @throws HttpException where it has not */
async function viewer(webDir: string): Promise<{ script: string; style: string }> {
  const read = (name: string) => readFile(path.join(webDir, 'report', name), 'utf8');
  try {
    const [script, style] = await Promise.all([read('viewer.js'), read('viewer.css')]);
    return { script: script.replaceAll(ENDS_SCRIPT, String.raw`\x3C$1`), style };
  } catch {
    throw new HttpException(
      'expected the files of the dashboard in LOOM_WEB_DIR, found none of reports: `npm run build` makes them',
      503,
    );
  }
}

/** Makes files of reports. */
export class ReportFiles {
  constructor(
    private readonly source: ReportSource,
    private readonly webDir: string,
  ) {}

  /** The HTML. `dashboard`: address for links to runs. @throws HttpException where the dashboard was not built */
  async of(report: ReportRecord, dashboard: string): Promise<string> {
    const program = await viewer(this.webDir);
    const contents: BlockContent[] = [];
    for (const block of report.blocks) contents.push(await blockContent(this.source, block));
    return htmlOf(report, contents, dashboard, program);
  }
}

function htmlOf(
  record: ReportRecord,
  contents: BlockContent[],
  dashboard: string,
  { script, style }: { script: string; style: string },
): string {
  const offline: OfflineReport = {
    report: { ...record, createdAt: record.createdAt.toISOString(), updatedAt: record.updatedAt.toISOString() },
    contents,
    at: new Date().toISOString(),
    dashboard,
  };
  const hash = createHash('sha256').update(script).digest('base64');
  const policy =
    `default-src 'none'; script-src 'sha256-${hash}'; style-src 'unsafe-inline'; img-src data: blob:; ` +
    "base-uri 'none'; form-action 'none'";
  return [
    '<!doctype html>',
    '<html lang="en">',
    '<meta charset="utf-8">',
    `<meta http-equiv="Content-Security-Policy" content="${policy}">`,
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    '<link rel="icon" href="data:,">',
    `<title>${escaped(record.title)}</title>`,
    `<style>${style}</style>`,
    '<div id="root"></div>',
    '<noscript>This report is drawn by the program in this file: allow it to run.</noscript>',
    `<script type="application/json" id="report">${inElement(JSON.stringify(offline))}</script>`,
    `<script type="module">${script}</script>`,
    '</html>',
    '',
  ].join('\n');
}
