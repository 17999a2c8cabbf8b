import { float, int, string, type Attribute } from '../../graph/attributes.js';
import type { Node } from '../../graph/graph.js';
import { operand, optionalOperand } from '../../graph/operands.js';
import { fromNumbers, mapNumbers, reshaped, type TensorValue, toNumbers } from '../../graph/tensor-value.js';
import { fusedUnary } from '../../ops/convolution.js';
import { operatorOf, recordOf } from '../../ops/registry.js';
import { normalizeU8, pair } from '../../ops/views.js';
import type { Rewriter } from '../rewriter.js';
import { dequantizedValues, quantizedBounds, quantizedSource, quantizeOne, sameQuantization, yType, type QuantizedValue, type TensorQuantization } from './parameters.js';
import type { Planner } from './plan.js';

const binaryKinds: Readonly<Record<string, string>> = { Add: 'add', Sub: 'sub', Mul: 'mul' };

/** A clamp after an operation, and the operation. */
function clampOf(editor: Rewriter, value: string): { node: Node; low: number; high: number } | undefined {
  const node = editor.producer(value);
  if (node?.op !== 'Unary') return node === undefined ? undefined : { node, low: -Infinity, high: Infinity };
  const { kind, alpha, beta } = fusedUnary(node);
  const input = operand(node, 0);
  const inner = editor.producer(input);
  if (inner === undefined || editor.soleConsumer(input) !== node) return undefined;
  if (kind === 'relu') return { node: inner, low: 0, high: Infinity };
  return kind === 'clip' ? { node: inner, low: alpha, high: beta } : undefined;
}

/** Add, Sub or Mul of two quantized tensors. */
export const planBinary: Planner = (editor, value, q) => {
  const clamp = clampOf(editor, value);
  const kind = clamp === undefined ? undefined : binaryKinds[clamp.node.op];
  if (clamp === undefined || kind === undefined) return undefined;
  const operands = pair(clamp.node);
  const [a, b] = [quantizedSource(editor, operands.a), quantizedSource(editor, operands.b)];
  if (a === undefined || b === undefined) return undefined;
  const [low, high] = quantizedBounds(q, clamp.low, clamp.high);
  const product = kind === 'mul';
  const attributes: Record<string, Attribute> = {
    kind: string(kind), y_type: yType(q),
    a_zp: int(a.q.zeroPoint), b_zp: int(b.q.zeroPoint), y_zp: int(q.zeroPoint), y_lo: int(low), y_hi: int(high),
    a_mul: float(Math.fround((product ? Math.fround(a.q.scale * b.q.scale) : a.q.scale) / q.scale)),
    b_mul: float(product ? 1 : Math.fround(b.q.scale / q.scale)),
  };
  const name = editor.producer(value)?.name ?? clamp.node.name;
  return () => editor.emit({ name, op: 'BinaryQ8', inputs: [a.value, b.value], attributes });
};

/** Operators on floats that work element by element on one variable tensor; all other operands are constant. */
interface ElementwiseChain {
  readonly source: QuantizedValue;
  /** From the source on. */
  readonly nodes: readonly { node: Node; variable: number }[];
  /** 1, or the number of channels when a constant has one value for each. */
  readonly channels: number;
}

/** Longest chain worth a table; longer ones are followed only as far as this. */
const maximumChain = 16;

function elementwiseChain(editor: Rewriter, value: string): ElementwiseChain | undefined {
  const nodes: { node: Node; variable: number }[] = [];
  const last = editor.type(value).shape.at(-1) ?? 1;
  let channels = 1;
  for (let at = value; nodes.length < maximumChain; ) {
    const source = quantizedSource(editor, at);
    if (source !== undefined) return nodes.length === 0 ? undefined : { source, nodes: nodes.reverse(), channels };
    const node = editor.producer(at);
    if (node === undefined || recordOf(node)?.elementwise !== 'floats') return undefined;
    const variable = node.inputs.findIndex((input) => input !== '' && editor.constant(input) === undefined);
    const constants = node.inputs.flatMap((input, i) => (i === variable || input === '' ? [] : [editor.constant(input)]));
    for (const constant of constants) {
      if (constant === undefined) return undefined;
      if (constant.data.length === 1) continue;
      if (constant.data.length !== last || constant.dims.at(-1) !== last) return undefined;
      channels = last;
    }
    const next = optionalOperand(node, variable);
    if (next === undefined || editor.type(next).shape.join() !== editor.type(value).shape.join()) return undefined;
    nodes.push({ node, variable });
    at = next;
  }
  return undefined;
}

/** The chain's function of every stored value, [256, channels]. */
function tabulate(editor: Rewriter, { source, nodes, channels }: ElementwiseChain): Float64Array {
  const inputs = dequantizedValues(source.q);
  const dims = [256, channels];
  let x: TensorValue = fromNumbers('float32', dims, mapNumbers({ length: 256 * channels }, (_, i) => inputs[Math.floor(i / channels)] ?? 0));
  for (const { node, variable } of nodes) {
    const operands = node.inputs.map((input, i) => {
      if (i === variable) return x;
      const constant = editor.constant(input);
      return constant === undefined ? undefined : reshaped(constant, [constant.data.length]);
    });
    const [result] = operatorOf(node).evaluate({ node, opset: editor.opset, inputs: operands, outputs: [{ dtype: 'float32', shape: dims }] });
    if (result !== undefined) x = result;
  }
  return Float64Array.from(toNumbers(x));
}

/** A chain of elementwise operators as one table of 256 entries, or one for each channel. */
export const planTable: Planner = (editor, value, q) => {
  const chain = elementwiseChain(editor, value);
  if (chain === undefined) return undefined;
  return () => {
    const values = tabulate(editor, chain);
    const { channels } = chain;
    const table = mapNumbers({ length: 256 * channels }, (_, i) => quantizeOne(values[(i % 256) * channels + Math.floor(i / 256)] ?? 0, q));
    return emitTable(editor, chain.source.value, fromNumbers(q.dtype, [table.length], table), editor.producer(value)?.name ?? value);
  };
};

export function emitTable(editor: Rewriter, source: string, table: TensorValue, name: string): string {
  return editor.emit({ name, op: 'LutQ8', inputs: [source, editor.addConstant(`${name}.table`, table)] });
}

/** The same numbers in another quantization. */
export function requantize(editor: Rewriter, x: QuantizedValue, q: TensorQuantization, name: string): string {
  if (sameQuantization(x.q, q)) return x.value;
  const table = fromNumbers(q.dtype, [256], mapNumbers(dequantizedValues(x.q), (v) => quantizeOne(v, q)));
  return emitTable(editor, x.value, table, `${name}.requantized`);
}

/** DequantizeLinear straight into QuantizeLinear. */
export const planRequantize: Planner = (editor, value, q) => {
  const x = quantizedSource(editor, value);
  return x === undefined ? undefined : () => requantize(editor, x, q, editor.producer(value)?.name ?? value);
};

/** Normalized pixels into QuantizeLinear: a table for each channel. */
export const planPixels: Planner = (editor, value, q) => {
  const node = editor.producer(value);
  if (node?.op !== 'NormalizeU8') return undefined;
  const { pixels, ...parameters } = normalizeU8(node);
  const [mul, add] = [editor.constant(parameters.mul), editor.constant(parameters.add)];
  if (mul === undefined || add === undefined) return undefined;
  const [factors, summands] = [toNumbers(mul), toNumbers(add)];
  const table = mapNumbers({ length: 256 * factors.length }, (_, i) => {
    const c = Math.floor(i / 256);
    return quantizeOne(Math.fround(Math.fround((i % 256) * (factors[c] ?? 0)) + (summands[c] ?? 0)), q);
  });
  const identity = q.dtype === 'uint8' && table.every((entry, i) => entry === i % 256);
  return () => (identity ? pixels : emitTable(editor, pixels, uniform(fromNumbers(q.dtype, [table.length], table)), node.name));
};

/** A table for all channels when those of each are equal. */
function uniform(table: TensorValue): TensorValue {
  const entries = toNumbers(table);
  const first = fromNumbers(table.dtype, [256], entries.subarray(0, 256));
  return entries.every((entry, i) => entry === entries[i % 256]) ? first : table;
}

