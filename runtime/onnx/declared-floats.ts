import protobuf from 'protobufjs/minimal.js';

/** Types of floats that a model declares for an input or an output, while the native engine computes in float32. */
export type DeclaredFloat = 'float16' | 'float64' | 'bfloat16';

/** TensorProto.DataType */
const declared: ReadonlyMap<number, DeclaredFloat> = new Map([[10, 'float16'], [11, 'float64'], [16, 'bfloat16']]);

/** Calls `visit` for each field of a message that is a message itself. */
function eachMessage(bytes: Uint8Array, visit: (field: number, content: Uint8Array) => void, scalar: (field: number, value: number) => void = () => undefined): void {
  const reader = protobuf.Reader.create(bytes);
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    if ((tag & 7) === 2) visit(tag >>> 3, reader.bytes());
    else if ((tag & 7) === 0) scalar(tag >>> 3, Number(reader.int64()));
    else reader.skipType(tag & 7);
  }
}

/** TypeProto: the elements of the tensor, or of those in the sequence (4) or optional (9), which may be an optional sequence. */
function readType(bytes: Uint8Array): number {
  let type = 0;
  eachMessage(bytes, (kind, content) => {
    if (kind === 1) eachMessage(content, () => undefined, (field, value) => field === 1 && (type = value));
    if (kind === 4 || kind === 9) eachMessage(content, (field, inner) => field === 1 && (type = readType(inner)));
  });
  return type;
}

/** ValueInfoProto: its name and type. */
function readValue(bytes: Uint8Array): { name: string; type: number } {
  const value = { name: '', type: 0 };
  eachMessage(bytes, (field, content) => {
    if (field === 1) value.name = new TextDecoder().decode(content);
    if (field === 2) value.type = readType(content);
  });
  return value;
}

/**
 * Inputs and outputs that a model declares as float16, bfloat16 or float64, by name. It reads their descriptions alone, so that a model whose program is in the cache
 * still needs no parsing. The bytes must be those of a model that has been parsed.
 */
export function declaredFloats(model: Uint8Array): ReadonlyMap<string, DeclaredFloat> {
  const found = new Map<string, DeclaredFloat>();
  const graphInputs = 11, graphOutputs = 12;
  eachMessage(model, (field, graph) => {
    if (field !== 7) return;
    eachMessage(graph, (kind, value) => {
      if (kind !== graphInputs && kind !== graphOutputs) return;
      const { name, type } = readValue(value);
      const float = declared.get(type);
      if (float !== undefined) found.set(name, float);
    });
  });
  return found;
}
