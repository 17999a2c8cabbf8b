import { describe, expect, it } from 'vitest';
import { openNative } from '../../../runtime/engines/native.js';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import { elementCount, fromNumbers, mapNumbers, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import { interpret } from '../../../runtime/infer/interpret.js';
import { optimize } from '../../../runtime/optimize/optimize.js';
import { nextUp } from '../../../runtime/optimize/quantized/steps.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import type { OnnxNode } from '../../../runtime/onnx/types.js';
import { floats, modelBytes, node, randomInts, randomTensor, type ModelSpec } from '../support/models.js';
import { nativeMissing } from '../support/native.js';
import { difference, oracle, oracleMissing } from '../support/oracle.js';

const image = [1, 8, 7, 9] as const;

/** Weights of a layer that changes nothing: what comes after it is channels last. */
const identity = fromNumbers('float32', [8, 8, 1, 1], mapNumbers({ length: 64 }, (_, i) => (i % 9 === 0 ? 1 : 0)));

interface Activation {
  readonly name: string;
  readonly nodes: readonly OnnxNode[];
  readonly constants?: Readonly<Record<string, TensorValue>>;
}

/** From 'f' to 'a'. */
const activations: readonly Activation[] = [
  { name: 'Sign', nodes: [node('Sign', ['f'], ['a'])] },
  { name: 'Sign(Sign(x) + 0.1)', nodes: [node('Sign', ['f'], ['s']), node('Add', ['s', 'small'], ['t']), node('Sign', ['t'], ['a'])], constants: { small: floats([], 0.1) } },
  { name: 'Where(x >= 0.25, 1, -1)', nodes: [node('GreaterOrEqual', ['f', 't'], ['gt']), node('Where', ['gt', 'p', 'm'], ['a'])], constants: { t: floats([], 0.25), p: floats([], 1), m: floats([], -1) } },
  { name: 'Where(x < 0, 0.5, -0.5)', nodes: [node('Less', ['f', 't'], ['gt']), node('Where', ['gt', 'p', 'm'], ['a'])], constants: { t: floats([1], 0), p: floats([], 0.5), m: floats([], -0.5) } },
  {
    name: '2 * Cast(x > 0) - 1',
    nodes: [node('Greater', ['f', 't'], ['gt']), node('Cast', ['gt'], ['cast'], { to: 1 }), node('Mul', ['cast', 'two'], ['d']), node('Sub', ['d', 'one'], ['a'])],
    constants: { t: floats([], 0), two: floats([], 2), one: floats([], 1) },
  },
  { name: 'Cast(0.5 < x), 0 and 1', nodes: [node('Less', ['t', 'f'], ['gt']), node('Cast', ['gt'], ['a'], { to: 1 })], constants: { t: floats([], 0.5) } },
];

/** Weights of -s, 0 and s; `zeros` false: no 0. */
function weightsOf(dims: readonly number[], zeros: boolean): TensorValue {
  const signs = randomInts('int8', dims, 5, zeros ? -1 : 0, 1);
  const depth = elementCount(dims.slice(1));
  const magnitude = (o: number) => Math.fround(0.1 + 0.07 * o);
  return fromNumbers('float32', dims, mapNumbers(signs.data as Int8Array, (sign, i) => (zeros ? sign : sign * 2 - 1) * magnitude(Math.floor(i / depth))));
}

const layers: readonly { name: string; dims: readonly number[]; zeros: boolean; attributes: Parameters<typeof node>[3] }[] = [
  { name: 'ternary 3x3, padded', dims: [6, 8, 3, 3], zeros: true, attributes: { pads: [1, 1, 1, 1] } },
  { name: 'binary 3x3, padded', dims: [33, 8, 3, 3], zeros: false, attributes: { pads: [1, 1, 1, 1] } },
  { name: 'binary 3x3, strided', dims: [16, 8, 3, 3], zeros: false, attributes: { strides: [2, 2], pads: [0, 1, 1, 0] } },
  { name: 'binary 1x1', dims: [5, 8, 1, 1], zeros: false, attributes: {} },
  { name: 'ternary 5x3, dilated', dims: [5, 8, 5, 3], zeros: true, attributes: { dilations: [1, 2], pads: [2, 2, 2, 2] } },
  { name: 'binary, in two groups', dims: [6, 4, 3, 3], zeros: false, attributes: { group: 2, pads: [1, 1, 1, 1] } },
];

/** A float layer, an activation, a convolution, batch normalization and a residual, as such networks are built. */
function network({ nodes, constants = {} }: Activation, { dims, zeros, attributes }: (typeof layers)[number]): ModelSpec {
  const outputs = dims[0] ?? 1;
  return {
    inputs: { x: image },
    constants: {
      ...constants, first: identity, w: weightsOf(dims, zeros), b: randomTensor([outputs], 6),
      g: randomTensor([outputs], 7, 0.5, 2), beta: randomTensor([outputs], 8), mu: randomTensor([outputs], 9), v: randomTensor([outputs], 10, 0.5, 2),
    },
    nodes: [node('Conv', ['x', 'first'], ['f']), ...nodes, node('Conv', ['a', 'w', 'b'], ['c'], attributes), node('BatchNormalization', ['c', 'g', 'beta', 'mu', 'v'], ['n']), node('LeakyRelu', ['n'], ['y'])],
    outputs: ['y'],
  };
}

const imported = (spec: ModelSpec) => inferShapes(graphFromOnnx(parseModel(modelBytes(spec))));
/** Exact zeros and both sides of the thresholds among them. */
const feed = fromNumbers('float32', image, mapNumbers(randomTensor(image, 3, -1, 1).data as Float32Array, (x, i) => (i % 11 === 0 ? 0 : i % 13 === 0 ? 0.25 : i % 17 === 0 ? 0.5 : x)));
const cases = activations.flatMap((activation) => layers.map((layer) => ({ name: `${activation.name}, ${layer.name}`, spec: network(activation, layer) })));

describe('networks with binary and ternary layers', () => {
  it.each(cases)('$name: recognized', ({ spec }) => {
    const operators = optimize(imported(spec)).nodes.map(({ op }) => op);
    expect(operators).toContain('ConvQ8F32');
    expect(operators).toContain('Threshold');
    expect(operators.filter((op) => op === 'NhwcConv')).toHaveLength(1);
  });

  it('one threshold serves every convolution that reads the activation', () => {
    const w = weightsOf([4, 8, 1, 1], false);
    const spec = {
      inputs: { x: image }, constants: { first: identity, w, v: w }, outputs: ['y'],
      nodes: [node('Conv', ['x', 'first'], ['f']), node('Sign', ['f'], ['a']), node('Conv', ['a', 'w'], ['b']), node('Conv', ['a', 'v'], ['c'], {}), node('Sub', ['b', 'c'], ['d']), node('Neg', ['d'], ['y'])],
    };
    const operators = optimize(imported(spec)).nodes.map(({ op }) => op);
    expect(operators.filter((op) => op === 'Threshold')).toHaveLength(1);
  });

  const unlike: readonly (readonly [string, ModelSpec])[] = [
    ['weights of two magnitudes in a channel', { ...network(activations[0] as Activation, layers[3] as (typeof layers)[number]), constants: { ...network(activations[0] as Activation, layers[3] as (typeof layers)[number]).constants, w: randomTensor([5, 8, 1, 1], 4) } }],
    ['activations of four values', network({ name: '', nodes: [node('Sign', ['f'], ['s']), node('Add', ['s', 'half'], ['a'])], constants: { half: floats([], 0.5) } }, layers[3] as (typeof layers)[number])],
    ['a depthwise convolution', network(activations[0] as Activation, { name: '', dims: [8, 1, 3, 3], zeros: false, attributes: { group: 8 } })],
    ['an activation that is not the sign of anything', network({ name: '', nodes: [node('Relu', ['f'], ['a'])] }, layers[3] as (typeof layers)[number])],
  ];
  it.each(unlike)('%s stay float', (_, spec) => {
    expect(optimize(imported(spec)).nodes.map(({ op }) => op)).not.toContain('ConvQ8F32');
  });

  it.each([[0, 2 ** -149], [1, 1 + 2 ** -23], [-1, -1 + 2 ** -24], [-(2 ** -149), -0]])('the float after %f is %f', (x, next) => {
    expect(nextUp(x)).toBe(next);
  });
});

describe.skipIf(oracleMissing !== undefined)(`networks with binary and ternary layers against onnxruntime${oracleMissing === undefined ? '' : ` (${oracleMissing})`}`, () => {
  it.each(cases)('$name: by reference', async ({ spec }) => {
    const wanted = await oracle(modelBytes(spec), { x: feed });
    const got = interpret(optimize(imported(spec)), new Map([['x', feed]])).get('y');
    const { maximum, range } = difference(got?.data ?? [], wanted['y']?.data ?? []);
    expect(maximum).toBeLessThanOrEqual(1e-5 * Math.max(1, range));
  });

  it.skipIf(nativeMissing !== undefined).each(cases)('$name: by the engine', async ({ spec }) => {
    const wanted = await oracle(modelBytes(spec), { x: feed });
    const session = await openNative(modelBytes(spec));
    const { y } = await session.run({ x: { type: 'float32', dims: image, data: feed.data as Float32Array } });
    await session.close();
    const { maximum, range } = difference(y?.data as Float32Array, wanted['y']?.data ?? []);
    expect(maximum).toBeLessThanOrEqual(1e-5 * Math.max(1, range));
  });
});
