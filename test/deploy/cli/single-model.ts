import { fromNumbers } from '../../../runtime/graph/tensor-value.js';
import type { OnnxDimension } from '../../../runtime/onnx/types.js';
import { modelBytes, node } from '../../runtime/support/models.js';

/** Models whose outputs follow from the mean of each channel, so that a plain picture tells what they must answer. */

type Dims = readonly OnnxDimension[];

const fixed: Dims = [1, 3, 8, 8];
/** Weights of an identity: the mean of channel n is output first + n, of `columns`. */
const identity = (columns: number, first = 0): number[] => Array.from({ length: 3 * columns }, (_, i) => (Math.floor(i / columns) + first === i % columns ? 1 : 0));

/** Scores of three classes: the class of the strongest channel, without a softmax; or of `columns` values. */
export function meansModel(columns: number, dims: Dims = fixed): Uint8Array {
  return modelBytes({
    inputs: { x: dims }, constants: { flat: fromNumbers('int64', [2], [1, 3]), w: fromNumbers('float32', [3, columns], identity(columns)) },
    nodes: [node('GlobalAveragePool', ['x'], ['p']), node('Reshape', ['p', 'flat'], ['v']), node('MatMul', ['v', 'w'], ['y'])], outputs: ['y'],
  });
}

/** Boxes [1, n, 4] that are always the same, with the means as the raw scores of three classes for each, after a background. */
export function boxesModel(boxes: readonly (readonly number[])[], dims: Dims = fixed): Uint8Array {
  const n = boxes.length;
  return modelBytes({
    inputs: { x: dims },
    constants: {
      flat: fromNumbers('int64', [3], [1, 1, 3]), none: fromNumbers('float32', [3, 4], new Array<number>(12).fill(0)),
      same: fromNumbers('float32', [3, 4], identity(4, 1)), corners: fromNumbers('float32', [1, n, 4], boxes.flat()), nothing: fromNumbers('float32', [1, n, 4], new Array<number>(n * 4).fill(0)),
    },
    nodes: [
      node('GlobalAveragePool', ['x'], ['p']), node('Reshape', ['p', 'flat'], ['m']), node('MatMul', ['m', 'none'], ['b0']), node('Add', ['b0', 'corners'], ['boxes']),
      node('MatMul', ['m', 'same'], ['s0']), node('Add', ['s0', 'nothing'], ['scores']),
    ],
    outputs: ['boxes', 'scores'],
  });
}
