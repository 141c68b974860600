/** The text of a run or a sweep, as one types it: what it asks for, and where in it each field stands. Pure. */
import {
  ApiError,
  expansionOf,
  faultsOf,
  InvalidSweepError,
  RUN_KINDS,
  SubmitRun,
  SubmitSweep,
  type Fault,
  type Run,
  type Sweep,
  type SweepSpec,
} from '#libs/contracts';
import { isCollection, isMap, isNode, isScalar, isSeq, parseDocument, type Document, type Node } from 'yaml';
import type { z } from 'zod';
import type { Subject } from './spec-fields.js';

/** A range of the text, as offsets of its characters. */
export interface Place {
  from: number;
  to: number;
}
export interface Trouble extends Place {
  message: string;
  /** Path of the field in the text, such as `stages.pretrain.dataset`; absent where the text is at fault. */
  field?: string;
}
export type Request =
  { type: 'run'; request: z.input<typeof SubmitRun> } | { type: 'sweep'; request: z.input<typeof SubmitSweep> };
/**
 * What of the text can be filled in: a run, or a sweep and its stages, and the request around them where it is there;
 * each with the path of keys that leads to it.
 */
export interface Draft {
  parts: { name: string; subject: Subject; value: Record<string, unknown>; path: string[] }[];
}
export interface Submission {
  submission: Request;
  draft: Draft;
  /** Where the field of a path such as `spec.epochs` of the request stands, and its path in the text. */
  locate(this: void, path: string): Place & { field: string };
}
export type Parsed = Submission | { troubles: Trouble[] };

/** The request that submits a run once more as it was. */
export const requestOf = ({
  spec,
  name,
  tags,
  project,
  priority,
  requires,
  maxSeconds,
}: Run): z.input<typeof SubmitRun> => ({
  spec,
  ...(name !== null && { name }),
  tags,
  project,
  priority,
  ...((Object.keys(requires.labels).length > 0 || requires.gpu) && { requires }),
  ...(typeof maxSeconds === 'number' && { maxSeconds }),
});
/** The request that submits a sweep once more as it was. */
export const sweepRequestOf = ({
  spec,
  tags,
  project,
}: Pick<Sweep, 'spec' | 'tags' | 'project'>): z.input<typeof SubmitSweep> => ({ spec, tags, project });

/**
 * Takes a bare spec (`kind: …` or `stages: …`) or a whole request (`spec: …` with tags, priority, name), as `loom
 * submit` does.
 */
export function parseSubmission(text: string): Parsed {
  const document = parseDocument(text, { prettyErrors: false });
  if (document.errors.length)
    return {
      troubles: document.errors.map(({ pos: [from, to], message }) => ({
        from,
        to: Math.max(to, from + 1),
        message: message.split('\n')[0]!,
      })),
    };
  const content: unknown = document.toJS();
  const whole = (message: string) => ({ troubles: [{ from: 0, to: Math.max(1, text.search(/\n|$/)), message }] });
  if (typeof content !== 'object' || content === null || Array.isArray(content))
    return whole('expected a run (`kind: …`) or a sweep (`stages: …`)');
  const isWhole = 'spec' in content;
  const spec = isWhole ? content.spec : content;
  if (typeof spec !== 'object' || spec === null || !('stages' in spec || 'kind' in spec))
    return whole(`expected \`kind\` (one of ${RUN_KINDS.join(', ')}) for a run, or \`stages\` for a sweep`);
  const request = isWhole ? content : { spec };
  return {
    submission: { type: 'stages' in spec ? 'sweep' : 'run', request } as Request,
    draft: draftOf(spec, isWhole ? content : undefined),
    locate: (path) => {
      const field = isWhole ? path : path.replace(/^spec(\.|$)/, '');
      return { ...locate(document, field), field };
    },
  };
}

/** What the API would refuse in a request whatever there is, told without asking it, at the places of the text. */
export function refusalsOf({ submission: { type, request }, locate: placeOfPath }: Submission): Trouble[] {
  const { data, error } = (type === 'sweep' ? SubmitSweep : SubmitRun).safeParse(request, { reportInput: true });
  const faults = error?.issues.flatMap(faultsOf) ?? (type === 'sweep' ? faultsOfTrials(data!.spec as SweepSpec) : []);
  return faults.map(({ path, message }) => troubleAt(path.join('.'), message, placeOfPath));
}

/** As many trials as are held against what their stages take while one types: a tenth of a second at most. */
const CHECKED_TRIALS = 100;

function faultsOfTrials(sweep: SweepSpec): Fault[] {
  try {
    const trials = expansionOf(sweep);
    for (let checked = 0; checked < CHECKED_TRIALS && !trials.next().done;) checked++;
    return [];
  } catch (error) {
    if (!(error instanceof InvalidSweepError)) throw error;
    return error.faults.map((fault) => ({ ...fault, path: ['spec', ...fault.path] }));
  }
}

/** A fault that is told at a path of the request, at its place in the text. */
export const troubleAt = (path: string, message: string, placeOfPath: Submission['locate']): Trouble => ({
  ...placeOfPath(path),
  message: `${path.replace(/^spec\./, '')}: ${message}`,
});

/** What the API has refused, at the places of the text; nothing where it told of no field. */
export const troublesOf = (error: unknown, placeOfPath: Submission['locate']): Trouble[] =>
  error instanceof ApiError
    ? (error.problem.errors ?? []).map(({ path, message }) => troubleAt(path, message, placeOfPath))
    : [];

function draftOf(spec: Record<string, unknown>, request: Record<string, unknown> | undefined): Draft {
  const isObject = (value: unknown): value is Record<string, unknown> =>
    typeof value === 'object' && value !== null && !Array.isArray(value);
  const { stages, kind } = spec;
  const path = request ? ['spec'] : [];
  const isSweep = 'stages' in spec;
  const inner: Draft['parts'] = isSweep
    ? [
        { name: 'sweep', subject: { type: 'sweep' }, value: spec, path },
        ...(isObject(stages) ? Object.entries(stages) : []).flatMap(([name, each]): Draft['parts'] =>
          isObject(each)
            ? [{ name, subject: { type: 'spec', kind: each['kind'] }, value: each, path: [...path, 'stages', name] }]
            : [],
        ),
      ]
    : [{ name: typeof kind === 'string' ? kind : 'run', subject: { type: 'spec', kind }, value: spec, path }];
  return {
    parts: [
      ...inner,
      ...(request
        ? [
            {
              name: 'request',
              subject: { type: isSweep ? 'sweep-request' : 'run-request' },
              value: request,
              path: [],
            } as const,
          ].map((part) => ({ ...part, path: [] as string[] }))
        : []),
    ],
  };
}

/** The text with one field set, or without it (undefined); comments and the way it is written stay. */
export function edited(text: string, path: readonly string[], value: unknown): string {
  const document = parseDocument(text);
  if (document.errors.length) return text;
  if (value === undefined) document.deleteIn(path);
  else {
    // A new object is written in one line, as the examples do.
    for (let depth = 1; depth < path.length; depth++) {
      const around = path.slice(0, depth);
      if (!document.hasIn(around)) document.setIn(around, flow(document, {}));
    }
    document.setIn(path, typeof value === 'object' ? flow(document, value) : value);
  }
  return document.toString({ lineWidth: 0, flowCollectionPadding: false });
}

function flow(document: Document, value: unknown): Node {
  const node = document.createNode(value);
  if (isCollection(node)) node.flow = true;
  return node;
}

/**
 * Where the field of a path such as `spec.parameters.pretrain.augmentation` stands, or the nearest around it that is
 * there. Keys may have dots of their own.
 */
function locate(document: Document, path: string): Place {
  let node: unknown = document.contents;
  let found: Place = { from: 0, to: 1 };
  for (let parts = path.split('.').filter(Boolean); parts.length && isCollection(node);) {
    let next: { place: Place; node: unknown; used: number } | undefined;
    for (let used = parts.length; used > 0 && !next; used--) {
      const key = parts.slice(0, used).join('.');
      if (isMap(node)) {
        const pair = node.items.find((each) => isScalar(each.key) && String(each.key.value) === key);
        if (pair) next = { place: placeOf(pair.key as Node), node: pair.value, used };
      } else if (isSeq(node) && used === 1) {
        const item = node.items[Number(key)];
        if (isNode(item)) next = { place: placeOf(item), node: item, used };
      }
    }
    if (!next) break;
    found = next.place;
    if (isScalar(next.node) && next.node.range && next.used === parts.length)
      found = { from: found.from, to: next.node.range[1] };
    node = next.node;
    parts = parts.slice(next.used);
  }
  return found;
}

/** The number of the line, from 1, in which a place of the text is. */
export const lineOf = (text: string, place: number): number => text.slice(0, place).split('\n').length;

const placeOf = ({ range }: Node): Place => ({
  from: range?.[0] ?? 0,
  to: Math.max(range?.[1] ?? 1, (range?.[0] ?? 0) + 1),
});
