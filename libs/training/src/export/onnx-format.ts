/** ONNX files: the messages of onnx.proto3 that networks need. */
import { bytes, float, message, text, whole, type Pieces } from './protobuf.js';

/**
 * Operators are those of this version of ONNX, which every runtime since 2022 knows, and the oldest file format that
 * has it.
 */
const OPSET = 17;
const IR_VERSION = 8;
const ELEMENT = { float32: 1, int64: 7 } as const;

export type Attribute = { int: number } | { ints: readonly number[] } | { float: number } | { text: string };
export interface OnnxNode {
  operator: string;
  inputs: readonly string[];
  output: string;
  attributes: Readonly<Record<string, Attribute>>;
}
export interface OnnxConstant {
  name: string;
  shape: readonly number[];
  values: Float32Array | BigInt64Array;
}
/** A tensor of float32 that goes in or comes out; null is the batch, of any size. */
export interface OnnxPort {
  name: string;
  shape: readonly (number | null)[];
}
export interface OnnxModel {
  name: string;
  nodes: readonly OnnxNode[];
  constants: readonly OnnxConstant[];
  inputs: readonly OnnxPort[];
  outputs: readonly OnnxPort[];
  metadata: Readonly<Record<string, string>>;
}

/** AttributeProto: f 2, i 3, s 4, ints 8, type 20. */
function attributeValue(value: Attribute): Pieces {
  if ('float' in value) return [...float(2, value.float), ...whole(20, 1)];
  if ('int' in value) return [...whole(3, value.int), ...whole(20, 2)];
  if ('text' in value) return [...text(4, value.text), ...whole(20, 3)];
  return [...value.ints.flatMap((each) => whole(8, each)), ...whole(20, 7)];
}

/** AttributeProto: name 1, and the value. */
const attribute = (name: string, value: Attribute): Pieces => message(5, [...text(1, name), ...attributeValue(value)]);

/** NodeProto: input 1, output 2, name 3, op_type 4, attribute 5. */
const node = ({ operator, inputs, output, attributes }: OnnxNode): Pieces =>
  message(1, [
    ...inputs.flatMap((input) => text(1, input)),
    ...text(2, output),
    ...text(3, output),
    ...text(4, operator),
    ...Object.entries(attributes).flatMap(([name, value]) => attribute(name, value)),
  ]);

/** TensorProto: dims 1, data_type 2, name 8, raw_data 9 (little-endian). */
const constant = ({ name, shape, values }: OnnxConstant): Pieces =>
  message(5, [
    ...shape.flatMap((side) => whole(1, side)),
    ...whole(2, values instanceof Float32Array ? ELEMENT.float32 : ELEMENT.int64),
    ...text(8, name),
    ...bytes(9, new Uint8Array(values.buffer, values.byteOffset, values.byteLength)),
  ]);

/**
 * ValueInfoProto: name 1, type 2.
 * TypeProto: tensor_type 1 → elem_type 1, shape 2 → dim 1 → dim_value 1 or dim_param 2.
 */
const port = (field: number, { name, shape }: OnnxPort): Pieces =>
  message(field, [
    ...text(1, name),
    ...message(
      2,
      message(1, [
        ...whole(1, ELEMENT.float32),
        ...message(
          2,
          shape.flatMap((side) => message(1, side === null ? text(2, 'batch') : whole(1, side))),
        ),
      ]),
    ),
  ]);

/**
 * The file's content, in pieces. ModelProto: ir_version 1, producer_name 2, graph 7, opset_import 8, metadata_props 14;
 * GraphProto: node 1, name 2, initializer 5, input 11, output 12.
 */
export const encodeOnnx = ({ name, nodes, constants, inputs, outputs, metadata }: OnnxModel): Pieces => [
  ...whole(1, IR_VERSION),
  ...text(2, 'latent-loom'),
  ...message(8, [...text(1, ''), ...whole(2, OPSET)]),
  ...Object.entries(metadata).flatMap(([key, value]) => message(14, [...text(1, key), ...text(2, value)])),
  ...message(7, [
    ...nodes.flatMap(node),
    ...text(2, name),
    ...constants.flatMap(constant),
    ...inputs.flatMap((each) => port(11, each)),
    ...outputs.flatMap((each) => port(12, each)),
  ]),
];
