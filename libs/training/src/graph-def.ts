/** Nodes of a step's graph: attributes in TensorFlow's own format, constants, and the variables of its state. */
import { DATA_TYPES, type Attribute, type Binding, type GraphNode } from '#libs/tensorflow';
import type * as tf from '@tensorflow/tfjs-core';
import { bytes, float, message, packed, text, whole, type Pieces } from './export/protobuf.js';

/** Number of the type of a variable's handle, as types.proto has it. */
export const RESOURCE = 20;
/**
 * Names of two outputs of a graph: TAKEN is there when its variables have been given the state's values, CHANGED when a
 * step has written all variables that it changes.
 */
export const [TAKEN, CHANGED] = ['taken', 'changed'] as const;

export const node = (
  name: string,
  operation: string,
  inputs: GraphNode['inputs'],
  attributes: Readonly<Record<string, Pieces>>,
): GraphNode => ({
  name,
  operation,
  inputs,
  attributes: Object.fromEntries(Object.entries(attributes).map(([key, value]) => [key, Buffer.concat(value)])),
});
/** TensorShapeProto: dim 2 → size 1. */
const shapeOf = (shape: readonly number[]): Pieces => shape.flatMap((side) => message(2, whole(1, side)));

/** AttrValue: list 1, s 2, i 3, f 4, b 5, type 6, shape 7, tensor 8. */
export function attributeValue(
  { TF_ATTR_STRING, TF_ATTR_INT, TF_ATTR_FLOAT, TF_ATTR_BOOL, TF_ATTR_TYPE, TF_ATTR_SHAPE }: Binding,
  { name, type, value }: Attribute,
): Pieces {
  const single: Partial<Record<number, (value: never) => Pieces>> = {
    [TF_ATTR_STRING]: (each: string) => text(2, each),
    [TF_ATTR_INT]: (each: number) => whole(3, each),
    [TF_ATTR_FLOAT]: (each: number) => float(4, each),
    [TF_ATTR_BOOL]: (each: boolean) => whole(5, Number(each)),
    [TF_ATTR_TYPE]: (each: number) => whole(6, each),
  };
  if (Array.isArray(value) && type === TF_ATTR_SHAPE) return message(7, shapeOf(value as number[]));
  if (Array.isArray(value) && type === TF_ATTR_INT) return message(1, packed(3, value as number[]));
  const encode = single[type];
  if (!encode || Array.isArray(value))
    throw new TypeError(`expected an attribute of a type that a graph can hold, got ${name} of type ${type}`);
  return encode(value as never);
}

/** Name of the output that is the handle of one of the state's variables. */
export const handleOf = (variable: number): string => `handle${variable}:0`;

export const placeholder = (name: string, dtype: number, shape: readonly number[]): GraphNode =>
  node(name, 'Placeholder', [], { dtype: whole(6, dtype), shape: message(7, shapeOf(shape)) });

/** TensorProto: dtype 1, tensor_shape 2, tensor_content 4. */
export const constantNode = (
  name: string,
  dtype: number,
  shape: readonly number[],
  values: tf.TypedArray,
  after: readonly string[] = [],
): GraphNode =>
  node(name, 'Const', after, {
    dtype: whole(6, dtype),
    value: message(8, [
      ...whole(1, dtype),
      ...message(2, shapeOf(shape)),
      ...bytes(4, new Uint8Array(values.buffer, values.byteOffset, values.byteLength)),
    ]),
  });

/** A constant that waits for the nodes `after`: fetching it runs them. */
export const mark = (name: string, after: readonly string[]): GraphNode =>
  constantNode(name, DATA_TYPES['int32']!, [], new Int32Array(1), after);

/** Nodes of each variable: its handle, its value as a step begins, and how it is given one from outside. */
export function stateNodes(state: readonly tf.Variable[]): GraphNode[] {
  const nodes = state.flatMap(({ dtype, shape }, i): GraphNode[] => {
    const type = whole(6, DATA_TYPES[dtype]!);
    return [
      node(`handle${i}`, 'VarHandleOp', [], {
        shared_name: text(2, `state${i}`),
        dtype: type,
        shape: message(7, shapeOf(shape)),
      }),
      node(`state${i}`, 'ReadVariableOp', [handleOf(i)], { dtype: type }),
      placeholder(`value${i}`, DATA_TYPES[dtype]!, shape),
      node(`take${i}`, 'AssignVariableOp', [handleOf(i), `value${i}:0`], { dtype: type }),
    ];
  });
  const taken = mark(
    TAKEN,
    state.map((_, i) => `^take${i}`),
  );
  return [...nodes, taken];
}
