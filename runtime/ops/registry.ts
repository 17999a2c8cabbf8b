import { unsupported } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { volume, type Shape } from '../graph/tensor-value.js';
import { binaryOps } from './binary.js';
import { bitwiseOps } from './bitwise.js';
import { convolutionOps } from './convolution.js';
import { coreOps } from './core.js';
import { dataSizedOps } from './data-sized.js';
import { integerOps } from './integer.js';
import { interpretedOps } from './interpreted.js';
import { linearOps } from './linear.js';
import { movementOps } from './movement.js';
import { normalizationOps } from './normalization.js';
import type { OperatorRecord, OpTable } from './op.js';
import { poolingOps } from './pooling.js';
import { quantizationOps } from './quantization.js';
import { quantizedOps } from './quantized.js';
import { randomOps } from './random.js';
import { recurrentOps } from './recurrent.js';
import { reductionOps } from './reduction.js';
import { regionsOfInterestOps } from './regions-of-interest.js';
import { needsAll, type Region, type RegionContext } from './regions.js';
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
  ...selectionOps, ...suppressionOps, ...spaceOps, ...dataSizedOps, ...interpretedOps, ...regionsOfInterestOps, ...randomOps, ...bitwiseOps,
};

const records: ReadonlyMap<string, OperatorRecord> = new Map(Object.entries(table));

/** Every operator that has a record: those of ONNX, and the engine's own that passes introduce. */
export const operatorNames: readonly string[] = [...records.keys()].sort();

/** What the compiler knows of a node's operator; undefined for an operator that it does not have. */
export const recordOf = (node: Pick<Node, 'op'>): OperatorRecord | undefined => records.get(node.op);

/** @throws RuntimeError E_MODEL_OP */
export function operatorOf(node: Node): OperatorRecord {
  const record = recordOf(node);
  if (record === undefined) throw unsupported(node, 'this operator is not supported');
  return record;
}

/** A bound on the steps that the reference evaluation takes: an operator that is not linear may read all inputs for every output. */
export function stepsOf(node: Node, inputs: readonly Shape[], outputs: readonly Shape[]): number {
  const sum = (shapes: readonly Shape[]) => shapes.reduce((total, shape) => total + volume(shape), 0);
  return recordOf(node)?.linear === true ? sum(inputs) + sum(outputs) * Math.max(inputs.length, 1) : sum(inputs) * sum(outputs);
}

/** The region of each input, by position, on which `region` of the first output depends; undefined where an input is absent. */
export function neededRegions(context: RegionContext, region: Region): readonly (Region | undefined)[] {
  return (recordOf(context.node)?.needs ?? needsAll)(context, region);
}
