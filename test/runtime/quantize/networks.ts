import type { Tensor } from '../../../runtime/tensor.js';
import { fromNumbers } from '../../../runtime/graph/tensor-value.js';
import { node, randomTensor, type ModelSpec } from '../support/models.js';

/** Conv+PRelu, depthwise Conv+Relu, projection, residual Add, pooling, Gemm: every kind of layer once, 8 channels of 8 x 8. */
export function residualNet(): ModelSpec {
  return {
    opset: 13,
    inputs: { x: [1, 3, 8, 8] },
    constants: {
      w1: randomTensor([8, 3, 3, 3], 1), b1: randomTensor([8], 2), slope: randomTensor([8, 1, 1], 3, 0.05, 0.4),
      w2: randomTensor([8, 1, 3, 3], 4), b2: randomTensor([8], 5),
      w3: randomTensor([8, 8, 1, 1], 6), b3: randomTensor([8], 7),
      w4: randomTensor([8, 8, 1, 1], 10),
      wf: randomTensor([8, 5], 8), bf: randomTensor([5], 9),
      flat: fromNumbers('int64', [2], [1, -1]),
    },
    nodes: [
      node('Conv', ['x', 'w1', 'b1'], ['c1'], { pads: [1, 1, 1, 1] }),
      node('PRelu', ['c1', 'slope'], ['a1']),
      node('Conv', ['a1', 'w2', 'b2'], ['c2'], { pads: [1, 1, 1, 1], group: 8 }),
      node('Relu', ['c2'], ['a2']),
      node('Conv', ['a2', 'w3', 'b3'], ['c3']),
      node('Conv', ['a1', 'w4'], ['c4']),
      node('Add', ['c3', 'c4'], ['sum']),
      node('Relu', ['sum'], ['a3']),
      node('GlobalAveragePool', ['a3'], ['pool']),
      node('Reshape', ['pool', 'flat'], ['vector']),
      node('Gemm', ['vector', 'wf', 'bf'], ['logits']),
      node('Softmax', ['logits'], ['y'], { axis: 1 }),
    ],
    outputs: ['y'],
  };
}

/** Deterministic calibration feeds. */
export const feedsFor = (count: number, dims: readonly number[] = [1, 3, 8, 8], name = 'x'): Record<string, Tensor>[] =>
  Array.from({ length: count }, (_, i) => ({ [name]: { type: 'float32', dims, data: Float32Array.from(randomTensor(dims, 100 + i).data, Number) } }));

/** Conv+Relu, 3x3 Conv+Clip, depthwise, 1x1, residual Add, pooling, Gemm, 16 channels of 8 x 8: deep enough for few bits in the middle. */
export function middleNet(): ModelSpec {
  return {
    opset: 13,
    inputs: { x: [1, 3, 8, 8] },
    constants: {
      w1: randomTensor([16, 3, 3, 3], 1), b1: randomTensor([16], 2),
      w2: randomTensor([16, 16, 3, 3], 4, -0.3, 0.3), b2: randomTensor([16], 5), six: fromNumbers('float32', [], [6]), zero: fromNumbers('float32', [], [0]),
      w3: randomTensor([16, 1, 3, 3], 6), b3: randomTensor([16], 7),
      w4: randomTensor([16, 16, 1, 1], 10), slope: randomTensor([16, 1, 1], 3, 0.05, 0.4),
      wf: randomTensor([16, 5], 8), bf: randomTensor([5], 9),
      flat: fromNumbers('int64', [2], [1, -1]),
    },
    nodes: [
      node('Conv', ['x', 'w1', 'b1'], ['c1'], { pads: [1, 1, 1, 1] }),
      node('Relu', ['c1'], ['a1']),
      node('Conv', ['a1', 'w2', 'b2'], ['c2'], { pads: [1, 1, 1, 1] }),
      node('Clip', ['c2', 'zero', 'six'], ['a2']),
      node('Conv', ['a2', 'w3', 'b3'], ['c3'], { pads: [1, 1, 1, 1], group: 16 }),
      node('PRelu', ['c3', 'slope'], ['a3']),
      node('Conv', ['a3', 'w4'], ['c4']),
      node('Add', ['c4', 'a1'], ['sum']),
      node('GlobalAveragePool', ['sum'], ['pool']),
      node('Reshape', ['pool', 'flat'], ['vector']),
      node('Gemm', ['vector', 'wf', 'bf'], ['y']),
    ],
    outputs: ['y'],
  };
}
