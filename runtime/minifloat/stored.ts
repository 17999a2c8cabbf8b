/**
 * How minifloats are stored in an ONNX model: an initializer of bytes, which is a stream of codes, and a node `sterna.Minifloat...` that makes the
 * float32 tensor of them. The node is a function of the model, written in operators of ai.onnx, so every runtime that knows functions runs the file.
 * Here it is a constant as soon as the model is read.
 */
import { RuntimeError } from '../errors.js';
import { int, intAttribute, type Attribute } from '../graph/attributes.js';
import { elementCount, float32s, int64s, type Shape, type TensorValue } from '../graph/tensor-value.js';
import { defaultLimits, type OnnxFunction, type OnnxNode } from '../onnx/types.js';
import { bitsOf, codeAt, decode, isMinifloat, MinifloatRounding, packCodes, splitText, type MinifloatFormat } from './format.js';

export const minifloatDomain = 'sterna';
const prefix = 'Minifloat';

/** First operator set whose operators the functions are made of. */
export const minifloatOpset = 10;

/** Whether a node, or a function, makes a tensor of minifloats. */
export const isMinifloatName = ({ domain, op }: Pick<OnnxNode, 'domain' | 'op'>): boolean => domain === minifloatDomain && op.startsWith(prefix);

const nameOf = (format: MinifloatFormat): string => `${prefix}${bitsOf(format)}_${splitText(format)}_bias${String(format.bias).replace('-', 'minus')}`;

const attributesOf = ({ exponent, mantissa, bias }: MinifloatFormat): Map<string, Attribute> => new Map(Object.entries({ exponent: int(exponent), mantissa: int(mantissa), bias: int(bias) }));

/** A tensor as a stream of codes, and the node that makes it of them again. */
export function storeMinifloats(name: string, { dims, data }: { dims: Shape; data: Float32Array }, format: MinifloatFormat): { constants: [string, TensorValue][]; node: OnnxNode } {
  const rounding = new MinifloatRounding(format);
  const packed = packCodes(Uint16Array.from(data, (value) => rounding.encode(value)), bitsOf(format));
  const [codes, shape] = [`${name}.codes`, `${name}.shape`];
  return {
    constants: [[codes, { dtype: 'uint8', dims: [packed.length], data: packed }], [shape, int64s(dims)]],
    node: { name: `${name}.${prefix}`, op: nameOf(format), domain: minifloatDomain, inputs: [codes, shape], outputs: [name], attributes: attributesOf(format) },
  };
}

/**
 * The tensor that a node makes of the initializers of its graph.
 * @throws RuntimeError E_MODEL_MALFORMED, E_MODEL_LIMIT: the model is untrusted
 */
export function restoreMinifloats(node: OnnxNode, constants: ReadonlyMap<string, TensorValue>): TensorValue {
  const refuse = (problem: string, code: 'E_MODEL_MALFORMED' | 'E_MODEL_LIMIT' = 'E_MODEL_MALFORMED'): RuntimeError => new RuntimeError(code, `${node.op} '${node.name}': ${problem}`, { details: { node: node.name, op: node.op } });
  const [exponent, mantissa, bias] = (['exponent', 'mantissa', 'bias'] as const).map((name) => intAttribute(node, name, -1));
  const format = { exponent: exponent ?? 0, mantissa: mantissa ?? 0, bias: bias ?? 0 };
  if (!isMinifloat(format)) throw refuse(`expected 6 to 16 bits with 1 to 8 of the exponent, and numbers that float32 holds, but received ${splitText(format)} with bias ${format.bias}`);
  const dims = Array.from(constants.get(node.inputs[1] ?? '')?.data ?? [], Number);
  const count = elementCount(dims);
  if (dims.some((dim) => dim < 0) || !(count <= defaultLimits.tensorElements)) throw refuse(`a result of [${dims.join(', ')}] has more than ${defaultLimits.tensorElements} elements or a negative size`, 'E_MODEL_LIMIT');
  const stored = constants.get(node.inputs[0] ?? '');
  const bits = bitsOf(format);
  const expected = Math.ceil(count / 8) * bits;
  if (stored?.dtype !== 'uint8' || stored.data.length !== expected) throw refuse(`expected an initializer of ${expected} bytes for ${count} numbers of ${bits} bits but received ${stored === undefined ? 'none' : `${stored.dtype}[${stored.dims.join(', ')}]`}`);
  const numbers = Float64Array.from({ length: 2 ** bits }, (_, code) => decode(code, format));
  const bytes = stored.data as Uint8Array;
  return { dtype: 'float32', dims, data: Float32Array.from({ length: count }, (_, i) => numbers[codeAt(bytes, bits, i)] ?? 0) };
}

/** The function of a format. */
export function minifloatFunction(format: MinifloatFormat): OnnxFunction {
  const { exponent, mantissa, bias } = format;
  const bits = bitsOf(format);
  const nodes: OnnxNode[] = [];
  const emit = (op: string, inputs: readonly string[], attributes: Readonly<Record<string, Attribute>> = {}, output = `${op}_${nodes.length}`): string => {
    nodes.push({ name: output, op, domain: '', inputs, outputs: [output], attributes: new Map(Object.entries(attributes)) });
    return output;
  };
  const constant = (value: TensorValue): string => emit('Constant', [], { value: { type: 'tensor', value } });
  const whole = (...values: number[]): string => constant({ dtype: 'int32', dims: values.length === 1 ? [] : [values.length], data: Int32Array.from(values) });
  const cast = (x: string, to: 'int32' | 'float32' | 'bool'): string => emit('Cast', [x], { to: int({ float32: 1, int32: 6, bool: 9 }[to]) });
  const [eight, hidden, sign] = [[...Array(8).keys()], 2 ** mantissa, 2 ** (exponent + mantissa)];
  // Eight codes are `bits` bytes, and none of them reaches over more than three bytes.
  const rows = emit('Reshape', ['codes', constant(int64s([-1, bits]))]);
  const byte = (offset: number): string => cast(emit('Gather', [rows, whole(...eight.map((i) => Math.min(bits - 1, ((i * bits) >> 3) + offset)))], { axis: int(1) }), 'int32');
  const upper = emit('Add', [emit('Mul', [byte(0), whole(65_536)]), emit('Mul', [byte(1), whole(256)])]);
  const shifted = emit('Div', [emit('Add', [upper, byte(2)]), whole(...eight.map((i) => 2 ** (24 - ((i * bits) & 7) - bits)))]);
  const code = emit('Mod', [shifted, whole(2 ** bits)]);
  const magnitude = emit('Mod', [code, whole(sign)]);
  const field = emit('Div', [magnitude, whole(hidden)]);
  const normal = emit('Mul', [cast(cast(field, 'bool'), 'int32'), whole(hidden)]);
  const significand = cast(emit('Add', [emit('Mod', [magnitude, whole(hidden)]), normal]), 'float32');
  const powers = constant(float32s(Float64Array.from({ length: 2 ** exponent }, (_, f) => 2 ** (Math.max(f, 1) - bias - mantissa))));
  const positive = emit('Mul', [significand, emit('Gather', [powers, field])]);
  const signs = emit('Sub', [constant(float32s([1])), emit('Mul', [cast(emit('Div', [code, whole(sign)]), 'float32'), constant(float32s([2]))])]);
  const flat = emit('Reshape', [emit('Mul', [positive, signs]), constant(int64s([-1]))]);
  const count = emit('ReduceProd', ['shape'], { keepdims: int(1) });
  const used = emit('Slice', [flat, constant(int64s([0])), count]);
  emit('Reshape', [used, 'shape'], {}, 'numbers');
  return { name: nameOf(format), domain: minifloatDomain, overload: '', inputs: ['codes', 'shape'], outputs: ['numbers'], defaults: attributesOf(format), nodes };
}
