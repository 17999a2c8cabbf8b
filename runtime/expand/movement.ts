import { int, intAttribute, misshapen, notConstant, requiredInts, stringAttribute, intsAttribute } from '../graph/attributes.js';
import { hasOperand } from '../graph/operands.js';
import type { Node } from '../graph/graph.js';
import { elementCount, toNumbers } from '../graph/tensor-value.js';
import { paddingOf } from '../ops/movement.js';
import { normalizeAxis } from '../ops/op.js';
import { resamplingOf } from '../ops/resample.js';
import { type Builder, type Expansion, input, Notation } from './builder.js';
import { scatterComputed } from './scatter.js';

/** The numbers of an operand that is known; undefined while it is not. */
const numbersOf = (b: Builder, node: Node, index: number): number[] | undefined => {
  const value = b.known(input(node, index));
  return value === undefined ? undefined : Array.from(toNumbers(value));
};

/** Negative pads crop, before anything is added; wrapping repeats the tensor. */
const pad: Expansion = (b, node) => {
  const m = new Notation(b);
  const x = input(node);
  const shape = m.shape(x);
  const known = [1, 3].every((index) => input(node, index) === '' || b.known(input(node, index)) !== undefined);
  const wrap = stringAttribute(node, 'mode', 'constant') === 'wrap';
  if (!known) return undefined;
  const plain: Node = wrap ? { ...node, attributes: new Map([...node.attributes].filter(([name]) => name !== 'mode')) } : node;
  const { before, after } = paddingOf(plain, shape.length, (index) => numbersOf(b, node, index));
  if (!wrap && [...before, ...after].every((n) => n >= 0)) return undefined;
  const cropped = shape.reduce((value, size, axis) => {
    const [start, end] = [Math.max(0, -(before[axis] ?? 0)), size - Math.max(0, -(after[axis] ?? 0))];
    return start === 0 && end === size ? value : m.slice(value, axis, start, Math.max(start, end));
  }, x);
  const [low, high] = [before, after].map((list) => list.map((n) => Math.max(0, n)));
  if (wrap) return [wrapped(m, cropped, low ?? [], high ?? [])];
  if ([...(low ?? []), ...(high ?? [])].every((n) => n === 0)) return [cropped];
  const attributes = Object.fromEntries([...node.attributes].filter(([name]) => name === 'mode' || name === 'value'));
  const pads = [...(low ?? []), ...(high ?? [])];
  if (b.opset < 11) return [b.emit('Pad', [cropped], { ...attributes, pads: { type: 'ints', value: pads } })];
  return [b.emit('Pad', input(node, 2) === '' ? [cropped, m.ints(...pads)] : [cropped, m.ints(...pads), input(node, 2)], attributes)];
};

function wrapped(m: Notation, x: string, before: readonly number[], after: readonly number[]): string {
  return m.shape(x).reduce((value, size, axis) => {
    const [low, high] = [before[axis] ?? 0, after[axis] ?? 0];
    if (low + high === 0) return value;
    const from = Array.from({ length: low + size + high }, (_, i) => (((i - low) % size) + size) % size);
    return m.gather(value, m.ints(...from), axis);
  }, x);
}

/** Operands without elements add nothing. */
const concat: Expansion = (b, node) => {
  const m = new Notation(b);
  const full = node.inputs.filter((name) => b.sequence(name) === undefined && elementCount(m.shape(name)) > 0);
  const [first, ...others] = full;
  if (full.length === node.inputs.length || first === undefined) return undefined;
  return [others.length === 0 ? m.op('Identity', first) : b.emit('Concat', full, Object.fromEntries(node.attributes))];
};

/** Updates at places that are known: a choice among the elements of both. */
function scatterKnown(b: Builder, [x, updates]: readonly [string, string], targets: ArrayLike<number>): string {
  const m = new Notation(b);
  const shape = m.shape(x);
  const count = elementCount(shape);
  const from = Float64Array.from({ length: count }, (_, i) => i);
  for (let i = 0; i < targets.length; i++) from[targets[i] ?? 0] = count + i;
  const all = m.concat([m.reshape(x, [count]), m.reshape(updates, [elementCount(m.shape(updates))])], 0);
  return m.reshape(m.gather(all, m.tensor('int64', [count], from), 0), shape);
}

/** Above this many elements the table of where each comes from costs more than scattering. */
const maximumKnown = 1 << 20;

const scatterNd: Expansion = (b, node) => {
  const m = new Notation(b);
  const [x, indices, updates] = [input(node), b.known(input(node, 1)), input(node, 2)];
  const shape = m.shape(x);
  if (indices === undefined || elementCount(shape) > maximumKnown || stringAttribute(node, 'reduction', 'none') !== 'none') return scatterComputed(b, node);
  const depth = indices.dims.at(-1) ?? 0;
  const inner = elementCount(shape.slice(depth));
  const numbers = toNumbers(indices);
  const targets = Array.from({ length: (numbers.length / Math.max(depth, 1)) * inner }, (_, i) => {
    const tuple = Math.floor(i / inner);
    const at = shape.slice(0, depth).reduce((sum, size, axis) => {
      const index = numbers[tuple * depth + axis] ?? 0;
      const positive = index < 0 ? index + size : index;
      if (!(positive >= 0 && positive < size)) throw misshapen(node, `index ${index} is outside 0..${size - 1}`);
      return sum * size + positive;
    }, 0);
    return at * inner + (i % inner);
  });
  if (targets.length !== elementCount(m.shape(updates))) throw misshapen(node, `updates of [${m.shape(updates).join(', ')}] do not fit ${targets.length} places`);
  return [scatterKnown(b, [x, updates], targets)];
};

/** A Compress whose condition is known is a Gather. */
const compress: Expansion = (b, node) => {
  const m = new Notation(b);
  const condition = b.known(input(node, 1));
  if (condition === undefined) throw notConstant(node, 1, 'condition');
  const chosen = Array.from(toNumbers(condition)).flatMap((flag, i) => (flag === 0 ? [] : [i]));
  const whole = !node.attributes.has('axis');
  const shape = m.shape(input(node));
  const x = whole ? m.reshape(input(node), [elementCount(shape)]) : input(node);
  return [m.gather(x, m.ints(...chosen), whole ? 0 : normalizeAxis(node, intAttribute(node, 'axis', 0), shape.length))];
};

/**
 * Whole numbers. `nearest` only moves them: codes of 8 bits are resized as what they stand for at a scale of 1, for which the engine has kernels
 * (quantized networks in the QOperator format have such nodes), others are gathered. What is interpolated is cut to a whole number, as by onnxruntime.
 */
const resizeWhole: Expansion = (b, node) => {
  const m = new Notation(b);
  const x = input(node);
  const dtype = m.dtype(x);
  if (dtype === 'float32') return undefined;
  if (stringAttribute(node, 'mode', 'nearest') !== 'nearest') {
    return [m.cast(b.emit(node.op, [m.cast(x, 'float32'), ...node.inputs.slice(1)], Object.fromEntries(node.attributes)), dtype)];
  }
  if (dtype !== 'uint8' && dtype !== 'int8') {
    const { tables } = resamplingOf(node, b.opset, m.shape(x), (index) => b.known(node.inputs[index]));
    return [tables.reduce((value, { axis, indices }) => m.gather(value, m.ints(...indices), axis), x)];
  }
  const grid = [m.number(1), m.number(0, dtype)];
  const resized = b.emit(node.op, [b.emit('DequantizeLinear', [x, ...grid]), ...node.inputs.slice(1)], Object.fromEntries(node.attributes));
  return [b.emit('QuantizeLinear', [resized, ...grid])];
};

/** Values go back to where a MaxPool found them, in an output of zeros of the size that the pool's input had. */
const maxUnpool: Expansion = (b, node) => {
  const m = new Notation(b);
  const x = input(node);
  const [n = 1, c = 1, ...spatial] = m.shape(x);
  const kernel = requiredInts(node, 'kernel_shape');
  const [strides, pads] = [intsAttribute(node, 'strides') ?? kernel.map(() => 1), intsAttribute(node, 'pads') ?? kernel.flatMap(() => [0, 0])];
  const inferred = [n, c, ...spatial.map((size, i) => (size - 1) * (strides[i] ?? 1) + (kernel[i] ?? 1) - (pads[i] ?? 0) - (pads[i + kernel.length] ?? 0))];
  const wanted = hasOperand(node, 2) ? numbersOf(b, node, 2) : inferred;
  if (wanted === undefined) throw notConstant(node, 2, 'output_shape');
  if (wanted.length !== inferred.length || wanted.some((size, i) => size < (inferred[i] ?? 0))) throw misshapen(node, `an output of [${wanted.join(', ')}] is smaller than [${inferred.join(', ')}]`);
  const count = elementCount(m.shape(x));
  const zeros = m.expand(m.like(x, 0), [elementCount(inferred)]);
  const flat = b.emit('ScatterElements', [zeros, m.reshape(input(node, 1), [count]), m.reshape(x, [count])], { axis: int(0) });
  return [m.pad(m.reshape(flat, inferred), inferred.map(() => 0), wanted.map((size, i) => size - (inferred[i] ?? 0)))];
};

export const movements: Readonly<Record<string, Expansion>> = {
  Resize: resizeWhole, Upsample: resizeWhole, Pad: pad, Concat: concat, ScatterND: scatterNd, Compress: compress, MaxUnpool: maxUnpool,
};
