/**
 * What a trainer may say. It is a process that decodes what users bring and may be broken in any way: what is not of
 * this form never comes further than here.
 */
import { StatusReason, type TrainerMessage } from '#libs/contracts';
import { z } from 'zod';

/** Bytes of one message; a manifest of a large dataset has some of them. */
export const LONGEST_MESSAGE = 64 * 2 ** 20;

const step = z.int32().min(0);
const name = z.string().min(1).max(300);
const stopReason = z.enum(['cancel', 'pause', 'drain', 'rung']);
/** JSON has no word for what is not finite: it comes as null, and is left out. */
const value = z.number().nullable();

const Message = z.discriminatedUnion('type', [
  z.object({ type: z.literal('ready'), device: z.enum(['cpu', 'gpu']).optional() }),
  z.object({ type: z.literal('progress'), step, totalSteps: step }),
  z.object({ type: z.literal('metrics'), points: z.array(z.object({ key: name, step, value })) }),
  z.object({ type: z.literal('log'), level: z.enum(['info', 'warn', 'error']), message: z.string() }),
  z.object({
    type: z.literal('artifact'),
    id: z.int(),
    name,
    kind: z.enum(['checkpoint', 'model', 'dataset', 'image', 'audio', 'report', 'embedding', 'export']),
    mime: name,
    path: z.string().min(1).max(4096),
    step: step.nullable(),
  }),
  z.object({
    type: z.literal('succeeded'),
    result: z.looseObject({ metrics: z.record(z.string(), value) }),
  }),
  z.object({ type: z.literal('stopped'), reason: stopReason, step }),
  z.object({
    type: z.literal('failed'),
    reason: StatusReason,
    message: z.string(),
    code: z.string().max(100).optional(),
  }),
]);

/** A message as it came; undefined where it is none. */
export function parseMessage(line: string): TrainerMessage | undefined {
  let message: z.output<typeof Message>;
  try {
    message = Message.parse(JSON.parse(line));
  } catch {
    return undefined;
  }
  if (message.type === 'metrics')
    return { type: 'metrics', points: message.points.filter((point) => isFinitePoint(point)) };
  if (message.type !== 'succeeded') return message;
  const { metrics, ...rest } = message.result;
  const finite = Object.entries(metrics).filter((entry): entry is [string, number] => entry[1] !== null);
  return { type: 'succeeded', result: { ...rest, metrics: Object.fromEntries(finite) } };
}

const isFinitePoint = <Point extends { value: number | null }>(point: Point): point is Point & { value: number } =>
  point.value !== null;

/** Cuts what comes over a channel into lines. */
export class Lines {
  private pieces: Buffer[] = [];
  private length = 0;

  /** The lines that end in this piece; undefined where one is longer than a message may be. */
  push(piece: Buffer): string[] | undefined {
    const lines: string[] = [];
    let rest = piece;
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      lines.push(Buffer.concat([...this.pieces, rest.subarray(0, end)]).toString('utf8'));
      this.pieces = [];
      this.length = 0;
      rest = rest.subarray(end + 1);
    }
    this.pieces.push(rest);
    this.length += rest.length;
    return this.length > LONGEST_MESSAGE ? undefined : lines;
  }
}
