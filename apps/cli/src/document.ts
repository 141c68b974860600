import {
  RunSpec,
  SubmitRun,
  SubmitSweep,
  type SweepSpec,
  expandSweep,
  faultsOf,
  fromWandb,
  InvalidSweepError,
  modelNamedBy,
  WandbError,
  type WandbOptions,
  type Fault,
  type Problem,
} from '#libs/contracts';
import path from 'node:path';
import { isMap, isNode, isScalar, LineCounter, parseDocument, visit, type Document } from 'yaml';
import type { z } from 'zod';
import { advice } from './fields.js';
import { textGiven } from './given-text.js';
import { UsageError } from './usage-error.js';

export type Submission =
  { type: 'run'; request: z.input<typeof SubmitRun> } | { type: 'sweep'; request: z.input<typeof SubmitSweep> };

/** How a file for Weights & Biases is to be read: it names no stages. */
export interface Reading {
  stage?: string | undefined;
  dataset?: string | undefined;
  map?: Record<string, string | null> | undefined;
}

/** A YAML or JSON file that describes a run or a sweep, and knows on which line each field stands. */
export class SubmissionFile {
  private constructor(
    readonly file: string,
    private readonly document: Document,
    private readonly lines: LineCounter,
    readonly submission: Submission,
    private readonly prefix: readonly string[],
    /** How the names of a file for Weights & Biases were read, a line each. */
    readonly notes: readonly string[] = [],
    /** Where in such a file the parameters of the spec stand. */
    private readonly places: ReadonlyMap<string, readonly string[]> = new Map(),
  ) {}

  /**
   * @param file `-` for standard input. @throws UsageError with `file:line:column` and the field, what was expected and
   * what came.
   * @param runId Gives the id of the run that `from` means, which may be a name.
   */
  static async read(
    file: string,
    reading: Reading = {},
    runId: (text: string) => Promise<string> = (text) => Promise.resolve(text),
  ): Promise<SubmissionFile> {
    const draft = SubmissionFile.draft(await textGiven(file), file === '-' ? 'stdin' : file, reading);
    await draft.findParents(runId);
    return draft.checked();
  }

  /**
   * Takes a bare spec (`kind: …` or `stages: …`) or a whole request (`spec: …` with tags, priority, name).
   * @throws UsageError
   */
  static parse(text: string, file: string, reading: Reading = {}): SubmissionFile {
    return SubmissionFile.draft(text, file, reading).checked();
  }

  /** A file that is read and not yet checked. */
  private static draft(text: string, file: string, reading: Reading): SubmissionFile {
    const lines = new LineCounter();
    const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, merge: true });
    const broken = document.errors[0];
    if (broken) {
      const { line, col } = lines.linePos(broken.pos[0]);
      throw new UsageError(`${file}:${line}:${col}: ${brokenBy(broken)}`);
    }
    const content = contentOf(document, file, lines);
    if (!isMapping(content))
      throw new UsageError(
        `${file}:1:1: expected a run (\`kind: …\`) or a sweep (\`stages: …\`), got ${nameOf(content)}`,
      );
    if (isForWandb(content, reading)) return SubmissionFile.ofWandb(content, file, document, lines, reading);
    const whole = 'spec' in content;
    const type = typeOf(whole ? content['spec'] : content);
    // A document that is neither is told what it could be, instead of that a union did not match.
    if (!type) {
      const kinds = RunSpec.options.map((option) => option.shape.kind.value).join(', ');
      const hint = 'parameters' in content ? '; for a file of Weights & Biases add --stage and --dataset' : '';
      throw new UsageError(
        `${file}:1:1: expected \`kind\` (one of ${kinds}) for a run, or \`stages\` for a sweep${hint}`,
      );
    }
    const submission = { type, request: whole ? content : requestOf(content) } as Submission;
    return new SubmissionFile(file, document, lines, submission, whole ? [] : ['spec']);
  }

  private static ofWandb(
    content: Record<string, unknown>,
    file: string,
    document: Document,
    lines: LineCounter,
    { stage, dataset, map = {} }: Reading,
  ): SubmissionFile {
    const { taken: request, rest } = divided(content, ['tags', 'priority']);
    if (content['stages'] === undefined && dataset === undefined)
      throw new UsageError(`${file}: expected --dataset NAME beside --stage ${stage}, got none`);
    const stages = (content['stages'] ?? { [stage!]: stageOf(stage!, dataset!) }) as WandbOptions['stages'];
    const options = {
      stages,
      stage: stage !== undefined && Object.hasOwn(stages, stage) ? stage : Object.keys(stages)[0]!,
      map: { ...(isMapping(content['map']) ? content['map'] : {}), ...map } as WandbOptions['map'],
      name: path.basename(file).replace(/\.\w+$/, '') || 'sweep',
    };
    try {
      const { spec, notes, places } = fromWandb(rest, options);
      const submission = { type: 'sweep', request: { ...request, spec } } as unknown as Submission;
      return new SubmissionFile(file, document, lines, submission, ['spec'], notes, places);
    } catch (error) {
      if (!(error instanceof WandbError)) throw error;
      const told = new SubmissionFile(file, document, lines, { type: 'sweep', request: {} } as Submission, []);
      throw new UsageError(error.faults.map((fault) => told.located(fault)).join('\n'));
    }
  }

  /** @throws UsageError with every fault of it */
  private checked(): this {
    const faults = this.faults();
    if (faults.length) throw new UsageError(faults.map((fault) => this.located(fault)).join('\n'));
    return this;
  }

  /** Puts the ids of runs in the place of what else `from` and `alignTo` say, in a run and in stages of a sweep. */
  private async findParents(runId: (text: string) => Promise<string>): Promise<void> {
    const { type, request } = this.submission;
    const spec = request.spec as { from?: unknown; alignTo?: unknown; stages?: unknown };
    const stages = type === 'sweep' && isMapping(spec.stages) ? spec.stages : {};
    const children = type === 'run' ? [{ path: ['spec'], child: spec }] : [];
    for (const [stage, child] of Object.entries(stages))
      if (isMapping(child)) children.push({ path: ['spec', 'stages', stage], child });
    for (const { path: within, child } of children)
      for (const field of ['from', 'alignTo'] as const) {
        const named = child[field];
        if (typeof named !== 'string' || Object.hasOwn(stages, named) || modelNamedBy(named) !== undefined) continue;
        child[field] = await runId(named).catch((error: unknown) => {
          if (!(error instanceof UsageError)) throw error;
          const names = field === 'from' ? Object.keys(stages).filter((name) => stages[name] !== child) : [];
          const or = names.length ? `; of this sweep's stages it could be ${names.join(', ')}` : '';
          throw new UsageError(this.located({ path: [...within, field], message: `${error.message}${or}` }));
        });
      }
  }

  private faults(): Fault[] {
    const { type, request } = this.submission;
    const parsed = (type === 'run' ? SubmitRun : SubmitSweep).safeParse(request, { reportInput: true });
    if (!parsed.success) return parsed.error.issues.flatMap(faultsOfIssue);
    if (type === 'sweep') {
      try {
        expandSweep(parsed.data.spec as SweepSpec);
      } catch (error) {
        if (error instanceof InvalidSweepError)
          return error.faults.map((fault) => ({ ...fault, path: ['spec', ...fault.path] }));
        throw error;
      }
    }
    return [];
  }

  /** What the API refused, with the lines of this file. */
  explain(problem: Problem): string {
    const faults = (problem.errors ?? []).map(({ path, message }) =>
      this.located({ path: this.pathFrom(path), message }),
    );
    return faults.length ? faults.join('\n') : `${this.file}: ${problem.detail || problem.title}`;
  }

  /** The API joins a path with dots, and a sweep's parameter names have dots of their own. */
  private pathFrom(text: string): string[] {
    const parts = text.split('.');
    const at = parts.indexOf('parameters');
    return at < 0 || this.submission.type === 'run'
      ? parts
      : [...parts.slice(0, at + 1), parts.slice(at + 1).join('.')];
  }

  private located({ path, message }: Fault): string {
    const within = this.prefix.length && path[0] === 'spec' ? path.slice(1) : path;
    const place = within[0] === 'parameters' ? this.places.get(String(within[1])) : undefined;
    const { line, col } = this.position(place ? [...place, ...within.slice(2)] : within);
    const { type, request } = this.submission;
    return `${this.file}:${line}:${col}: ${within.join('.') || 'document'}: ${message}${advice(type, request, path)}`;
  }

  /** Place of the field, or of the nearest thing around it that is in the file. */
  private position(path: readonly (string | number)[]): { line: number; col: number } {
    for (let depth = path.length; depth > 0; depth--) {
      const keys = path.slice(0, depth).map((key) => (/^\d+$/.test(String(key)) ? Number(key) : key));
      const found: unknown = this.document.getIn(keys, true);
      if (!isNode(found) || !found.range) continue;
      const place = this.lines.linePos(found.range[0]);
      const around: unknown = this.document.getIn(keys.slice(0, -1), true);
      const pair = isMap(around) ? around.items.find(({ value }) => value === found) : undefined;
      // What stands below its key is told at the key.
      const key = isNode(pair?.key) && pair.key.range ? this.lines.linePos(pair.key.range[0]) : place;
      return key.line < place.line ? key : place;
    }
    return { line: 1, col: 1 };
  }
}

/** What is wrong with a text that is no document. */
function brokenBy({ code, message }: Document['errors'][number]): string {
  if (code === 'MULTIPLE_DOCS') return 'expected one document, got several: a file is one run or one sweep';
  // The parser's own calls lie in each other as the lists do.
  if (message.startsWith('Maximum call stack')) return 'expected fewer lists and mappings in each other';
  return `expected YAML or JSON, ${message.split('\n')[0]}`;
}

/** A number that was written as a real, such as 2.0: JavaScript alone would forget it. */
class Real extends Number {}

/** A key that every object of JavaScript has: it would be lost without a word. */
const RESERVED = '__proto__';

/** What a document says. @throws UsageError where an alias has no anchor, or there are too many; for a reserved key */
function contentOf(document: Document, file: string, lines: LineCounter): unknown {
  let alias = 0;
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return `${file}:${line}:${col}`;
  };
  visit(document, {
    Pair: (_, { key }) => {
      if (isScalar(key) && key.value === RESERVED)
        throw new UsageError(`${at(key.range?.[0] ?? 0)}: expected another name, got ${RESERVED}`);
    },
    Scalar: (_, node) => {
      if (typeof node.value === 'number' && /[.e]/i.test(node.source ?? '')) node.value = new Real(node.value);
    },
    Alias: (_, node) => {
      if (alias === 0 || !node.resolve(document)) alias = node.range?.[0] ?? alias;
    },
  });
  try {
    return withReals(document.toJS());
  } catch (error) {
    if (!(error instanceof ReferenceError)) throw error;
    throw new UsageError(`${at(alias)}: expected YAML or JSON, ${error.message}`);
  }
}

/** A document with plain numbers; a range that was written in reals is one of reals, as Weights & Biases has it. */
function withReals(content: unknown): unknown {
  if (content instanceof Real) return content.valueOf();
  if (Array.isArray(content)) return content.map(withReals);
  if (!isMapping(content)) return content;
  const { min, max, distribution } = content;
  const real = distribution === undefined && (min instanceof Real || max instanceof Real);
  const ranged = real && [min, max].every((end) => typeof end === 'number' || end instanceof Real);
  return {
    ...Object.fromEntries(Object.entries(content).map(([key, value]) => [key, withReals(value)])),
    ...(ranged && { distribution: 'uniform' }),
  };
}

/** Whether a file is one for Weights & Biases: no spec of a run or a whole request. */
function isForWandb(content: Record<string, unknown>, { stage }: Reading): boolean {
  if ('spec' in content || ('kind' in content && content['kind'] !== 'sweep')) return false;
  if (stage !== undefined) return true;
  return (
    isMapping(content['stages']) && ['map', 'program', 'command', 'entity', 'controller'].some((key) => key in content)
  );
}

/** The stage that a file for Weights & Biases is read as; without a parent where it may have one. */
const stageOf = (kind: string, dataset: string): Record<string, unknown> => ({
  kind,
  dataset,
  ...(['finetune', 'evaluate'].includes(kind) && { from: null }),
});

/** What stands under these keys, and the rest. */
function divided(content: Record<string, unknown>, keys: readonly string[]) {
  const entries = Object.entries(content);
  return {
    taken: Object.fromEntries(entries.filter(([key]) => keys.includes(key))),
    rest: Object.fromEntries(entries.filter(([key]) => !keys.includes(key))),
  };
}

/** A bare spec as a request: what belongs beside a spec is taken there. */
function requestOf(content: Record<string, unknown>): Record<string, unknown> {
  const { taken, rest } = divided(content, ['project', 'tags', 'priority']);
  return { spec: rest, ...taken };
}

const isMapping = (content: unknown): content is Record<string, unknown> =>
  typeof content === 'object' && content !== null && !Array.isArray(content);

/** What a document is that is no mapping, in words. */
function nameOf(content: unknown): string {
  if (content === null) return 'an empty file';
  return Array.isArray(content) ? 'a list' : typeof content;
}

/** Whether a spec is that of a sweep or of a run; undefined for what is neither. */
function typeOf(spec: unknown): Submission['type'] | undefined {
  if (typeof spec !== 'object' || spec === null) return undefined;
  if ('stages' in spec) return 'sweep';
  return 'kind' in spec ? 'run' : undefined;
}

/** Each issue once, at its field. An unknown key is told at the key, where the nearest one follows. */
const faultsOfIssue = (issue: z.core.$ZodIssue): Fault[] =>
  faultsOf(issue).map((fault) => (issue.code === 'unrecognized_keys' ? { ...fault, message: 'unknown field' } : fault));
