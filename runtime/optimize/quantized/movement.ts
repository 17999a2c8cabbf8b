import { float, floatAttribute, int, intsAttribute, stringAttribute, type Attribute } from '../../graph/attributes.js';
import type { Node } from '../../graph/graph.js';
import { operand, optionalOperand } from '../../graph/operands.js';
import { poolAttributes } from '../../ops/pooling.js';
import { recordOf } from '../../ops/registry.js';
import type { Rewriter } from '../rewriter.js';
import { requantize } from './elementwise.js';
import { quantizedSource, quantizeOne, yType, type QuantizedValue, type TensorQuantization } from './parameters.js';
import type { Build, Planner } from './plan.js';

const record = (node: Node): Record<string, Attribute> => Object.fromEntries(node.attributes);

/** Moving quantized elements; `plan` finds the quantized form of the inputs. */
export function planMove(editor: Rewriter, value: string, q: TensorQuantization, plan: Planner): Build | undefined {
  const node = editor.producer(value);
  const which = node === undefined ? undefined : recordOf(node)?.moves;
  if (node === undefined || which === undefined) return undefined;
  const data = which === 'first' ? node.inputs.slice(0, 1) : node.inputs;
  const builds = data.map((input) => plan(editor, input, q));
  if (!builds.every((build): build is Build => build !== undefined)) return undefined;
  const attributes = node.op === 'PadNd' ? { ...record(node), fill: float(quantizeOne(floatAttribute(node, 'fill', 0), q)) } : record(node);
  return () => {
    const inputs = [...builds.map((build) => build()), ...node.inputs.slice(data.length)];
    return editor.emit({ name: node.name, op: node.op, inputs, attributes });
  };
}

function poolQ8Attributes(x: TensorQuantization, y: TensorQuantization, mul: number): Record<string, Attribute> {
  const [low, high] = y.bounds;
  return { y_type: yType(y), x_zp: int(x.zeroPoint), y_zp: int(y.zeroPoint), y_lo: int(low), y_hi: int(high), mul: float(mul) };
}

function planAverage(editor: Rewriter, node: Node, pool: Record<string, Attribute>, x: QuantizedValue, q: TensorQuantization): Build {
  const attributes = { ...pool, ...poolQ8Attributes(x.q, q, Math.fround(x.q.scale / q.scale)) };
  return () => editor.emit({ name: node.name, op: 'PoolQ8', inputs: [x.value], attributes });
}

/** Max and average pools; a mean over both spatial axes is an average pool. */
export const planPool: Planner = (editor, value, q) => {
  const node = editor.producer(value);
  if (node === undefined) return undefined;
  const x = quantizedSource(editor, optionalOperand(node, 0));
  if (x === undefined) return undefined;
  if (node.op === 'Reduce') {
    const { shape } = editor.type(x.value);
    const mean = stringAttribute(node, 'kind', '') === 'mean' && shape.length === 4 && (intsAttribute(node, 'axes') ?? []).join() === '1,2';
    const kernel: [number, number] = [shape[1] ?? 1, shape[2] ?? 1];
    const global = { kind: 'average', kernel, strides: [1, 1], dilations: [1, 1], pads: [0, 0, 0, 0], hang: [0, 0], output: [1, 1], includePad: false } as const;
    return mean ? planAverage(editor, node, poolAttributes(global), x, q) : undefined;
  }
  if (node.op !== 'NhwcPool') return undefined;
  if (stringAttribute(node, 'kind', '') === 'average') return planAverage(editor, node, record(node), x, q);
  const attributes = { ...record(node), ...poolQ8Attributes(x.q, x.q, 1) };
  return () => {
    const pooled = editor.emit({ name: node.name, op: 'PoolQ8', inputs: [x.value], attributes });
    return requantize(editor, { value: pooled, q: x.q }, q, node.name);
  };
};

/** Resizing quantized data, whose scale stays. */
export const planResize: Planner = (editor, value, q) => {
  const node = editor.producer(value);
  const x = node?.op === 'NhwcResize' ? quantizedSource(editor, operand(node, 0)) : undefined;
  if (node === undefined || x === undefined) return undefined;
  return () => {
    const resized = editor.emit({ name: node.name, op: 'ResizeQ8', inputs: [x.value], attributes: { ...record(node), zp: int(x.q.zeroPoint) } });
    return requantize(editor, { value: resized, q: x.q }, q, node.name);
  };
};
