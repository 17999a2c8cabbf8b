import { intAttribute, unsupported } from '../graph/attributes.js';
import { leastOf } from '../graph/channels.js';
import type { Node } from '../graph/graph.js';
import { elementCount, toNumbers, type NarrowType } from '../graph/tensor-value.js';
import { narrowOfWire } from '../onnx/tensor-data.js';
import { normalizeAxis } from '../ops/op.js';
import { dequantizedValue, withoutZeroScales } from '../ops/quantization.js';
import { type Builder, type Expansion, input, Notation } from './builder.js';

// Quantization that no integer kernel has: 16 bits, negative scales, QONNX's Quant. Arithmetic of floats in the order of its definition, which gives the same numbers.

const ranges: Readonly<Record<NarrowType, readonly [number, number]>> = { uint16: [0, 65_535], int16: [-32_768, 32_767] };

/** A parameter as it broadcasts against x: one for all, or one for each index of the node's axis. */
function spread(m: Notation, node: Node, value: string, x: string): string {
  const count = elementCount(m.shape(value));
  if (count === 1) return m.reshape(value, []);
  const shape = m.shape(x);
  if (intAttribute(node, 'block_size', 0) !== 0) throw unsupported(node, 'blocks of 16 bits or of negative scales', 'block_size');
  const axis = normalizeAxis(node, intAttribute(node, 'axis', 1), shape.length);
  return m.reshape(value, shape.map((_, i) => (i === axis ? count : 1)));
}

/** The least scale; infinite where none is known. */
function leastScale(b: Builder, scale: string): number {
  const known = b.known(scale);
  return known === undefined ? Infinity : leastOf(toNumbers(known));
}

/** x / scale, rounded, from the zero-point, within the range. */
function steps(m: Notation, node: Node, [x, scale, zero]: readonly [string, string, string], [low, high]: readonly [number, number]): string {
  const rounded = m.op('Round', m.div(x, spread(m, node, scale, x)));
  return m.clip(zero === '' ? rounded : m.add(rounded, m.cast(spread(m, node, zero, x), 'float32')), low, high);
}

const quantize: Expansion = (b, node) => {
  const m = new Notation(b);
  const [x, scale, zero] = [input(node, 0), input(node, 1), input(node, 2)];
  const narrow = b.known(zero)?.narrow ?? (zero === '' ? narrowOfWire(intAttribute(node, 'output_dtype', 0)) : undefined);
  if (narrow !== undefined) return [m.cast(steps(m, node, [x, scale, zero], ranges[narrow]), 'int32')];
  if (leastScale(b, scale) >= 0) return undefined;
  const dtype = zero === '' ? 'uint8' : m.dtype(zero);
  if (dtype !== 'uint8' && dtype !== 'int8') throw unsupported(node, `a negative scale of ${dtype}`, 'y_scale');
  return [m.cast(steps(m, node, [x, scale, zero], dtype === 'uint8' ? [0, 255] : [-128, 127]), dtype)];
};

/** A DequantizeLinear of constants as one without scales of 0 (channels that were pruned away), or as floats; undefined where not all of it is known. */
function constantWeights(b: Builder, node: Node, floats: boolean): string | undefined {
  const [x, scale, zero] = [b.known(input(node, 0)), b.known(input(node, 1)), b.known(input(node, 2))];
  if (x === undefined || scale === undefined || (zero === undefined && input(node, 2) !== '')) return undefined;
  if (floats) return b.constant(dequantizedValue(node, x, scale, zero));
  const made = withoutZeroScales(node, x, scale, zero);
  return b.emit('DequantizeLinear', [b.constant(made.x), b.constant(made.scale), input(node, 2)], Object.fromEntries(node.attributes));
}

const dequantize: Expansion = (b, node) => {
  const m = new Notation(b);
  const [x, scale, zero] = [input(node, 0), input(node, 1), input(node, 2)];
  const narrow = b.known(x)?.narrow ?? b.known(zero)?.narrow;
  const least = leastScale(b, scale);
  if (narrow === undefined && least > 0) return undefined;
  const inFloats = narrow !== undefined || least < 0;
  const made = inFloats && intAttribute(node, 'block_size', 0) === 0 ? undefined : constantWeights(b, node, inFloats);
  if (made !== undefined) return [made];
  const whole = m.cast(x, 'float32');
  const centred = zero === '' ? whole : m.sub(whole, m.cast(spread(m, node, zero, x), 'float32'));
  return [m.mul(centred, spread(m, node, scale, x))];
};

/** QONNX: (clip(round(x / scale + zero)) - zero) * scale, the range being that of `bits`. */
const quant: Expansion = (b, node) => {
  const m = new Notation(b);
  const [x, scale, zero, bitsName] = [input(node, 0), input(node, 1), input(node, 2), input(node, 3)];
  const bits = Number(b.known(bitsName)?.data[0] ?? NaN);
  if (!(bits >= 1 && bits <= 24)) throw unsupported(node, `Expected a constant number of 1 to 24 bits but received ${bits}`, 'bitwidth');
  const [signed, narrow] = [intAttribute(node, 'signed', 1) !== 0, intAttribute(node, 'narrow', 0) !== 0 ? 1 : 0];
  const mode = node.attributes.get('rounding_mode');
  const rounding = { ROUND: 'Round', HALF_EVEN: 'Round', CEIL: 'Ceil', FLOOR: 'Floor' }[mode?.type === 'string' ? mode.value.toUpperCase() : 'ROUND'];
  if (rounding === undefined) throw unsupported(node, `rounding ${mode?.type === 'string' ? mode.value : ''}`, 'rounding_mode');
  const [low, high] = signed ? [-(2 ** (bits - 1)) + narrow, 2 ** (bits - 1) - 1] : [0, 2 ** bits - 1 - narrow];
  const codes = m.op(rounding, m.clip(m.add(m.div(x, scale), zero), low, high));
  return [m.mul(m.sub(codes, zero), scale)];
};

/** QONNX: scale where x is not negative, else -scale. */
const bipolar: Expansion = (b, node) => {
  const m = new Notation(b);
  const [x, scale] = [input(node, 0), input(node, 1)];
  return [m.mul(m.where(m.op('Less', x, m.number(0)), m.number(-1), m.number(1)), scale)];
};

export const quantizations: Readonly<Record<string, Expansion>> = {
  QuantizeLinear: quantize, DequantizeLinear: dequantize, 'qonnx.Quant': quant, 'qonnx.IntQuant': quant, 'qonnx.BipolarQuant': bipolar,
};
