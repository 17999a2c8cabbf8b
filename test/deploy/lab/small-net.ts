import { node, randomTensor, type ModelSpec } from '../../runtime/support/models.js';

export const weights = (seed: number, ...dims: number[]) => randomTensor(dims, seed, -0.3, 0.3);

/** Two convolutions with a depthwise one between them, and a classifier. */
export const net: ModelSpec = {
  inputs: { x: [1, 3, 10, 10] }, outputs: ['y'],
  constants: { a: weights(1, 24, 3, 3, 3), d: weights(2, 24, 1, 3, 3), b: weights(3, 16, 24, 1, 1), w: weights(4, 10, 16), wb: weights(5, 10) },
  nodes: [
    node('Conv', ['x', 'a'], ['c1'], { pads: [1, 1, 1, 1] }), node('Relu', ['c1'], ['r1']), node('Conv', ['r1', 'd'], ['c2'], { group: 24, pads: [1, 1, 1, 1] }),
    node('Conv', ['c2', 'b'], ['c3']), node('Relu', ['c3'], ['r2']), node('GlobalAveragePool', ['r2'], ['g']), node('Flatten', ['g'], ['f']), node('Gemm', ['f', 'w', 'wb'], ['y'], { transB: 1 }),
  ],
};
