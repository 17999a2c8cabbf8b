import { ints, unsupported } from '../../graph/attributes.js';
import type { Node } from '../../graph/graph.js';
import { operand } from '../../graph/operands.js';
import { elementCount, fromNumbers, mapNumbers, reshaped, scalar } from '../../graph/tensor-value.js';
import { geometryAttributes } from '../../ops/convolution.js';
import { viewAttributes } from '../../ops/core.js';
import { gemmOf } from '../../ops/linear.js';
import * as views from '../../ops/views.js';
import type { Rewriter } from '../rewriter.js';
import type { Canonical } from './types.js';
import { relayWeights } from './weights.js';

/** A fully connected layer is a 1x1 convolution over a list of pixels. */
export const pointwise = geometryAttributes({ kernel: [1, 1], strides: [1, 1], dilations: [1, 1], pads: [0, 0, 0, 0], output: [1, 1], group: 1 });

/** Whether an operand is a constant, or a constant that is dequantized. */
function isWeight(editor: Rewriter, value: string): boolean {
  const producer = editor.producer(value);
  return editor.constant(value) !== undefined || (producer?.op === 'DequantizeLinear' && editor.constant(producer.inputs[0]) !== undefined);
}

const transposed = (editor: Rewriter, node: Node, value: string, wanted: boolean): string =>
  wanted ? editor.emit({ name: node.name, op: 'Transpose', inputs: [value], attributes: { perm: ints([1, 0]) } }) : value;

const times = (editor: Rewriter, node: Node, value: string, factor: number): string =>
  factor === 1 ? value : editor.emit({ name: node.name, op: 'Mul', inputs: [value, editor.addConstant(`${node.name}.factor`, scalar('float32', factor))] });

/** The bias of a Gemm as one number for each column: itself when it is that already. */
function columnBias(editor: Rewriter, node: Node, value: string, columns: number, beta: number): string | undefined {
  const constant = editor.constant(value);
  if (constant === undefined) return beta === 1 && editor.type(value).shape.length === 1 && editor.type(value).shape[0] === columns ? value : undefined;
  const count = elementCount(constant.dims);
  if (count !== 1 && !(count === columns && constant.dims.at(-1) === columns)) return undefined;
  const data = mapNumbers({ length: columns }, (_, i) => beta * Number(constant.data[count === 1 ? 0 : i] ?? 0));
  return editor.addConstant(`${node.name}.bias`, fromNumbers('float32', [columns], data));
}

function fullyConnected(editor: Rewriter, node: Node, transB: boolean): string {
  const [n = 1, k = 1] = editor.type(operand(node, 1)).shape;
  const [outputs, depth] = transB ? [n, k] : [k, n];
  return relayWeights(editor, node, 1, { perm: transB ? [0, 1] : [1, 0], shape: [outputs, 1, 1, depth], outputAxis: transB ? 0 : 1 });
}

const gemm: Canonical = (editor, node) => {
  const { a, b, c, output } = views.gemm(node);
  const { transA, transB, alpha, beta } = gemmOf(node);
  const left = times(editor, node, transposed(editor, node, a, transA), alpha);
  const columns = editor.type(output).shape[1] ?? 1;
  const bias = c === undefined ? undefined : columnBias(editor, node, c, columns, beta);
  if (isWeight(editor, b) && (c === undefined || bias !== undefined)) {
    const weights = fullyConnected(editor, node, transB);
    editor.substitute(node, { op: 'NhwcConv', inputs: bias === undefined ? [left, weights] : [left, weights, bias], attributes: pointwise });
    return;
  }
  const right = transposed(editor, node, b, transB);
  if (c === undefined) {
    editor.substitute(node, { op: 'MatMul', inputs: [left, right] });
    return;
  }
  const product = editor.emit({ name: node.name, op: 'MatMul', inputs: [left, right] });
  editor.substitute(node, { op: 'Add', inputs: [product, times(editor, node, c, beta)] });
};

export const matMul: Canonical = (editor, node) => {
  const { a, b } = views.pair(node);
  const [left, right] = [editor.type(a).shape, editor.type(b).shape];
  if (left.length < 2 || right.length < 2) {
    vectors(editor, node);
    return;
  }
  if (!isWeight(editor, b) || right.length !== 2) return;
  const weights = fullyConnected(editor, node, false);
  editor.substitute(node, { op: 'NhwcConv', inputs: [a, weights], attributes: pointwise });
};

/** Operands of rank 1 get the axis that numpy gives them, and lose it again. */
function vectors(editor: Rewriter, node: Node): void {
  const { a, b, output } = views.pair(node);
  const raise = (value: string, column: boolean): string => {
    const { shape } = editor.type(value);
    if (shape.length !== 1) return value;
    const dims = column ? [shape[0] ?? 1, 1] : [1, shape[0] ?? 1];
    const constant = editor.constant(value);
    if (constant !== undefined) return editor.addConstant(value, reshaped(constant, dims));
    return editor.emit({ name: node.name, op: 'View', inputs: [value], attributes: viewAttributes(dims) });
  };
  const { shape } = editor.type(output);
  if (shape.length > 6) throw unsupported(node, `rank ${shape.length}`);
  const product = editor.emit({ name: node.name, op: 'MatMul', inputs: [raise(a, false), raise(b, true)] });
  editor.substitute(node, { op: 'View', inputs: [product], attributes: viewAttributes(shape) });
}

export const canonicalLinear: Readonly<Record<string, Canonical>> = { Gemm: gemm, MatMul: matMul };
