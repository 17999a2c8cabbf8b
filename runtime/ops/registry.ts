import { unsupported } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { volume, type Shape } from '../graph/tensor-value.js';
import { binaryOps } from './binary.js';
import { convolutionOps } from './convolution.js';
import { coreOps } from './core.js';
import { integerOps } from './integer.js';
import { linearOps } from './linear.js';
import { movementOps } from './movement.js';
import { normalizationOps } from './normalization.js';
import type { OpDefinition, OpTable } from './op.js';
import { poolingOps } from './pooling.js';
import { quantizationOps } from './quantization.js';
import { quantizedOps } from './quantized.js';
import { recurrentOps } from './recurrent.js';
import { reductionOps } from './reduction.js';
import { resampleOps } from './resample.js';
import { resizeOps } from './resize.js';
import { shapeOps } from './shape.js';
import { selectionOps } from './selection.js';
import { spaceOps } from './space.js';
import { standardizationOps } from './standardization.js';
import { suppressionOps } from './suppression.js';
import { transposedConvolutionOps } from './transposed-convolution.js';
import { unaryOps } from './unary.js';

const table: OpTable = {
  ...unaryOps, ...binaryOps, ...shapeOps, ...movementOps, ...convolutionOps, ...poolingOps, ...resizeOps, ...reductionOps,
  ...linearOps, ...normalizationOps, ...quantizationOps, ...quantizedOps, ...coreOps,
  ...standardizationOps, ...recurrentOps, ...transposedConvolutionOps, ...integerOps, ...resampleOps,
  ...selectionOps, ...suppressionOps, ...spaceOps,
};

/** Every operator with inference and a reference: those of ONNX, and the engine's own that passes introduce. */
export const operatorNames: readonly string[] = Object.keys(table).sort();

/** Operators whose reference takes a fixed number of steps for each element that it reads or writes. */
const linear: ReadonlySet<string> = new Set(
  [unaryOps, binaryOps, shapeOps, movementOps, reductionOps, normalizationOps, quantizationOps, coreOps].flatMap((ops) => Object.keys(ops)));

/** A bound on the steps that the reference evaluation takes: an operator that is not linear may read all inputs for every output. */
export function stepsOf(node: Node, inputs: readonly Shape[], outputs: readonly Shape[]): number {
  const sum = (shapes: readonly Shape[]) => shapes.reduce((total, shape) => total + volume(shape), 0);
  return linear.has(node.op) ? sum(inputs) + sum(outputs) * Math.max(inputs.length, 1) : sum(inputs) * sum(outputs);
}

/** @throws RuntimeError E_MODEL_OP */
export function operatorOf(node: Node): OpDefinition {
  const definition = Object.hasOwn(table, node.op) ? table[node.op] : undefined;
  if (definition === undefined) throw unsupported(node, 'this operator is not supported');
  return definition;
}
