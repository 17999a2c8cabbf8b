import { expect, it } from 'vitest';
import { unscaledPixels } from '../../../deploy/compress/pixel-scale.js';
import { fromNumbers } from '../../../runtime/graph/tensor-value.js';
import { modelBytes, node, randomTensor } from '../../runtime/support/models.js';

const network = (largest: number, scaled = false): Uint8Array => modelBytes({
  inputs: { x: [1, 3, 8, 8] }, constants: { w: randomTensor([8, 3, 3, 3], 1, -largest, largest), by: fromNumbers('float32', [], [255]) },
  nodes: [...(scaled ? [node('Div', ['x', 'by'], ['d'])] : []), node('Conv', [scaled ? 'd' : 'x', 'w'], ['c']), node('Relu', ['c'], ['y'])], outputs: ['y'],
});
const bytes = { mean: [0], std: [1] };

it('pixels from 0 to 255 for a model that wants about 1 are a warning', () => {
  expect(unscaledPixels(network(0.3), {}, bytes)).toMatch(/^--mean 0 and --std 1 feed pixels as large as 255, but the weights of the first layer .* --mean 0 --std 255/);
});

it.each([
  ['scaled pixels', network(0.3), { mean: [127.5], std: [127.5] }],
  ['a model with weights for bytes', network(0.01), bytes],
  ['a model that scales pixels itself', network(0.3, true), bytes],
])('%s are none', (_, model, options) => expect(unscaledPixels(model, {}, options)).toBeUndefined());
