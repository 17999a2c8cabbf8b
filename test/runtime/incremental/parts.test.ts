import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { describeCpu, type Isa } from '../../../kernels/binding/index.js';
import type { OnnxNode } from '../../../runtime/onnx/types.js';
import type { TensorValue } from '../../../runtime/graph/tensor-value.js';
import { invertedResiduals } from '../support/inverted-residuals.js';
import { floats, ints64, model, node, randomTensor, type ModelSpec } from '../support/models.js';
import { nativeMissing } from '../support/native.js';
import { randomModels } from '../support/random-graphs.js';
import { bitsOf, Incremental, randomMask } from './reference.js';

const grid = [7, 6] as const;

/** Runs pictures in full and in part, and compares every value with the reference. */
async function check(spec: ModelSpec, load: { isa?: Isa; threads?: number } = {}, seed = 1): Promise<number> {
  const net = Incremental.of(model(spec), load);
  const picture = (i: number) => new Map(net.inputs.map(({ name, dims }) => [name, randomTensor(dims, i, -1, 1)]));
  const [first, second] = [picture(seed), picture(seed + 1)];
  const whole = await net.run(first);
  for (const share of [0.1, 0.5]) expect(bitsOf(await net.run(first, randomMask(...grid, share, seed))), 'parts of the same picture').toEqual(bitsOf(whole));
  let before = whole;
  for (const [i, share] of [0.15, 0.6].entries()) {
    const mask = randomMask(...grid, share, seed + i);
    const after = await net.run(i === 0 ? second : first, mask);
    expect(net.problems(before, after, mask), `${share} of the cells`).toEqual([]);
    before = after;
  }
  const all = await net.run(second, randomMask(...grid, 1.1, seed));
  const anew = await net.run(second);
  expect(bitsOf(all), 'every cell').toEqual(bitsOf(anew));
  await net.close();
  return net.inParts;
}

/** Heads of two sizes of map, side by side and one after the other, with all that detectors put around them. x: [1, 3, 24, 20]. */
function heads(): ModelSpec {
  const constants: Record<string, TensorValue> = {};
  const nodes: OnnxNode[] = [];
  const conv = (x: string, y: string, [outputs, inputs]: readonly [number, number], kernel = 3, stride = 1, group = 1): void => {
    constants[`${y}.w`] = randomTensor([outputs, inputs / group, kernel, kernel], nodes.length + 1, -0.3, 0.3);
    nodes.push(node('Conv', [x, `${y}.w`], [y], { kernel_shape: [kernel, kernel], strides: [stride, stride], pads: [1, 1, 1, 1].map(() => (kernel - 1) / 2), group }));
  };
  const reshape = (x: string, y: string, ...dims: number[]): void => {
    constants[`${y}.dims`] = ints64(...dims);
    nodes.push(node('Reshape', [x, `${y}.dims`], [y]));
  };
  conv('x', 'c1', [16, 3], 3, 2);
  nodes.push(node('LeakyRelu', ['c1'], ['r1'], { alpha: { float: 0.1 } }), node('MaxPool', ['r1'], ['p1'], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] }));
  conv('p1', 'd1', [16, 16], 5, 1, 16);
  nodes.push(node('Sigmoid', ['d1'], ['g1']), node('Mul', ['d1', 'g1'], ['s1']));
  // A shuffle of channels.
  reshape('s1', 'v1', 1, 2, 8, 6, 5);
  nodes.push(node('Transpose', ['v1'], ['t1'], { perm: [0, 2, 1, 3, 4] }));
  reshape('t1', 'u1', 1, 16, 6, 5);
  conv('u1', 'c2', [24, 16], 3, 2);
  nodes.push(node('GlobalAveragePool', ['c2'], ['a2']), node('Mul', ['c2', 'a2'], ['e2'])); // a squeeze and excitation
  constants['scales'] = floats([4], 1, 1, 2, 5 / 3);
  nodes.push(node('Resize', ['e2', '', 'scales'], ['n2'], { mode: 'nearest', coordinate_transformation_mode: 'asymmetric', nearest_mode: 'floor' }));
  nodes.push(node('Concat', ['u1', 'n2'], ['j1'], { axis: 1 }), node('AveragePool', ['j1'], ['q1'], { kernel_shape: [3, 3], pads: [1, 1, 1, 1] }));
  conv('q1', 'h1', [8, 40], 1);
  conv('e2', 'h2', [8, 24], 1);
  for (const [i, cells] of [[1, 30], [2, 9]] as const) {
    nodes.push(node('Transpose', [`h${i}`], [`k${i}`], { perm: [0, 2, 3, 1] }));
    reshape(`k${i}`, `l${i}`, 1, cells * 2, 4);
  }
  nodes.push(node('Concat', ['l1', 'l2'], ['boxes'], { axis: 1 }), node('Softmax', ['boxes'], ['y'], { axis: 2 }));
  return { opset: 13, inputs: { x: [1, 3, 24, 20] }, constants, nodes, outputs: ['y'] };
}

/** Shapes that only fit what `heads` says: its coarse map is 3 x 3. */
const isas = describeCpu().isas.filter(({ runnable }) => runnable).map(({ isa }) => isa);

describe.skipIf(nativeMissing !== undefined)(`incremental runs${nativeMissing === undefined ? '' : ` (${nativeMissing})`}`, () => {
  it.each(isas)('compute cells from what the maps hold, and keep the others: a network in int8 and in floats on %s', { timeout: 120_000 }, async (isa) => {
    for (const threads of [1, 2]) {
      for (const type of ['int8', 'float32'] as const) expect(await check(invertedResiduals(type, 24), { isa, threads })).toBeGreaterThan(0.7);
    }
  });

  it.each([1, 2])('do so through heads, shuffled channels, resizing, pooling and concatenations, on %d threads', async (threads) => {
    expect(await check(heads(), { threads })).toBeGreaterThan(0.6);
  });

  it('do so for generated networks', { timeout: 180_000 }, async () => {
    await fc.assert(fc.asyncProperty(randomModels, fc.nat(1000), async (spec, seed) => { await check(spec, {}, seed + 1); }), { numRuns: 60 });
  });
});
