/**
 * The part of the ONNX wire format that Sterna reads and writes: field numbers of onnx.proto (ONNX 1.16, IR version 10).
 * Unknown fields are skipped on reading, as the protobuf specification asks.
 */
export interface WireField {
  readonly id: number;
  /** A scalar of protobuf, or the name of a message. */
  readonly type: string;
  readonly rule?: 'repeated';
  readonly options?: { readonly packed: boolean };
}

const field = (id: number, type: string): WireField => ({ id, type });
const repeated = (id: number, type: string): WireField => ({ id, type, rule: 'repeated' });
const packed = (id: number, type: string): WireField => ({ id, type, rule: 'repeated', options: { packed: true } });

/** Messages by name, fields by name. */
export const messages: Readonly<Record<string, { readonly fields: Readonly<Record<string, WireField>> }>> = {
  ModelProto: {
    fields: {
      irVersion: field(1, 'int64'),
      producerName: field(2, 'string'),
      producerVersion: field(3, 'string'),
      domain: field(4, 'string'),
      modelVersion: field(5, 'int64'),
      docString: field(6, 'string'),
      graph: field(7, 'GraphProto'),
      opsetImport: repeated(8, 'OperatorSetIdProto'),
      metadataProps: repeated(14, 'StringStringEntryProto'),
      functions: repeated(25, 'FunctionProto'),
    },
  },
  OperatorSetIdProto: { fields: { domain: field(1, 'string'), version: field(2, 'int64') } },
  StringStringEntryProto: { fields: { key: field(1, 'string'), value: field(2, 'string') } },
  GraphProto: {
    fields: {
      node: repeated(1, 'NodeProto'),
      name: field(2, 'string'),
      initializer: repeated(5, 'TensorProto'),
      docString: field(10, 'string'),
      input: repeated(11, 'ValueInfoProto'),
      output: repeated(12, 'ValueInfoProto'),
      valueInfo: repeated(13, 'ValueInfoProto'),
      sparseInitializer: repeated(15, 'IgnoredProto'),
    },
  },
  FunctionProto: {
    fields: {
      name: field(1, 'string'), input: repeated(4, 'string'), output: repeated(5, 'string'), attribute: repeated(6, 'string'), node: repeated(7, 'NodeProto'),
      opsetImport: repeated(9, 'OperatorSetIdProto'), domain: field(10, 'string'), attributeProto: repeated(11, 'AttributeProto'), overload: field(13, 'string'),
    },
  },
  // Present only so that its use can be refused.
  IgnoredProto: { fields: {} },
  NodeProto: {
    fields: {
      input: repeated(1, 'string'),
      output: repeated(2, 'string'),
      name: field(3, 'string'),
      opType: field(4, 'string'),
      attribute: repeated(5, 'AttributeProto'),
      docString: field(6, 'string'),
      domain: field(7, 'string'),
      overload: field(8, 'string'),
    },
  },
  AttributeProto: {
    fields: {
      name: field(1, 'string'),
      f: field(2, 'float'),
      i: field(3, 'int64'),
      s: field(4, 'bytes'),
      t: field(5, 'TensorProto'),
      g: field(6, 'GraphProto'),
      floats: { ...repeated(7, 'float'), options: { packed: false } },
      ints: { ...repeated(8, 'int64'), options: { packed: false } },
      strings: repeated(9, 'bytes'),
      type: field(20, 'int32'),
      refAttrName: field(21, 'string'),
    },
  },
  TensorProto: {
    fields: {
      dims: { ...repeated(1, 'int64'), options: { packed: false } },
      dataType: field(2, 'int32'),
      floatData: packed(4, 'float'),
      int32Data: packed(5, 'int32'),
      int64Data: packed(7, 'int64'),
      name: field(8, 'string'),
      rawData: field(9, 'bytes'),
      doubleData: packed(10, 'double'),
      uint64Data: packed(11, 'int64'),
      externalData: repeated(13, 'StringStringEntryProto'),
      dataLocation: field(14, 'int32'),
    },
  },
  // Values in files of their own, as test data has them.
  SequenceProto: { fields: { name: field(1, 'string'), elemType: field(2, 'int32'), tensorValues: repeated(3, 'TensorProto') } },
  OptionalProto: { fields: { name: field(1, 'string'), elemType: field(2, 'int32'), tensorValue: field(3, 'TensorProto'), sequenceValue: field(5, 'SequenceProto') } },
  ValueInfoProto: { fields: { name: field(1, 'string'), type: field(2, 'TypeProto') } },
  TypeProto: { fields: { tensorType: field(1, 'TensorTypeProto'), sequenceType: field(4, 'ContainerTypeProto'), optionalType: field(9, 'ContainerTypeProto') } },
  ContainerTypeProto: { fields: { elemType: field(1, 'TypeProto') } },
  TensorTypeProto: { fields: { elemType: field(1, 'int32'), shape: field(2, 'TensorShapeProto') } },
  TensorShapeProto: { fields: { dim: repeated(1, 'DimensionProto') } },
  DimensionProto: { fields: { dimValue: field(1, 'int64'), dimParam: field(2, 'string') } },
};

/** An int64: a number where it is one exactly, else its halves. */
export type WireInt64 = number | { toNumber(): number; low: number; high: number };

// The decoded messages. Absent fields are undefined.
export interface WireTensor {
  dims?: WireInt64[];
  dataType?: number;
  floatData?: number[];
  int32Data?: number[];
  int64Data?: WireInt64[];
  name?: string;
  rawData?: Uint8Array;
  doubleData?: number[];
  /** As two's complement. */
  uint64Data?: WireInt64[];
  externalData?: { key?: string; value?: string }[];
  dataLocation?: number;
}
export interface WireSequence {
  tensorValues?: WireTensor[];
}
export interface WireOptional {
  tensorValue?: WireTensor | null;
  sequenceValue?: WireSequence | null;
}
export interface WireAttribute {
  name?: string;
  f?: number;
  i?: WireInt64;
  s?: Uint8Array;
  t?: WireTensor | null;
  g?: WireGraph | null;
  floats?: number[];
  ints?: WireInt64[];
  strings?: Uint8Array[];
  type?: number;
  refAttrName?: string;
}
export interface WireNode {
  input?: string[];
  output?: string[];
  name?: string;
  opType?: string;
  attribute?: WireAttribute[];
  domain?: string;
  overload?: string;
}
export interface WireDimension {
  dimValue?: WireInt64;
  dimParam?: string;
}
export interface WireType {
  tensorType?: { elemType?: number; shape?: { dim?: WireDimension[] } | null } | null;
  sequenceType?: { elemType?: WireType | null } | null;
  optionalType?: { elemType?: WireType | null } | null;
}
export interface WireValueInfo {
  name?: string;
  type?: WireType | null;
}
export interface WireGraph {
  node?: WireNode[];
  name?: string;
  initializer?: WireTensor[];
  input?: WireValueInfo[];
  output?: WireValueInfo[];
  valueInfo?: WireValueInfo[];
  sparseInitializer?: unknown[];
}
export interface WireFunction {
  name?: string;
  domain?: string;
  overload?: string;
  input?: string[];
  output?: string[];
  node?: WireNode[];
  opsetImport?: { domain?: string; version?: WireInt64 }[];
  attributeProto?: WireAttribute[];
}
export interface WireModel {
  irVersion?: WireInt64;
  producerName?: string;
  producerVersion?: string;
  graph?: WireGraph | null;
  opsetImport?: { domain?: string; version?: WireInt64 }[];
  metadataProps?: { key?: string; value?: string }[];
  functions?: WireFunction[];
}

/** AttributeProto.AttributeType. */
export const attributeTypes = {
  float: 1, int: 2, string: 3, tensor: 4, graph: 5, floats: 6, ints: 7, strings: 8,
} as const;
