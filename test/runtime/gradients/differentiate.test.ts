/** Gradients of whole graphs: random ones, batch normalization in training, straight-through rules, both engines, and what is refused. */
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { openNative } from '../../../runtime/engines/native.js';
import { graphToOnnx } from '../../../runtime/graph/export.js';
import { typeOf, type Graph } from '../../../runtime/graph/graph.js';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import { fromNumbers, scalar, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { constantsToInputs, differentiate } from '../../../runtime/gradients/differentiate.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { serializeModel } from '../../../runtime/onnx/serialize.js';
import { asTensor } from '../../../runtime/tensor.js';
import { floats, modelBytes, node, randomTensor, type ModelSpec } from '../support/models.js';
import { nativeMissing } from '../support/native.js';
import { difference, oracle, oracleMissing } from '../support/oracle.js';
import { randomModels } from '../support/random-graphs.js';
import { checkGradients, type Check, evaluate, withLoss } from './double.js';
import { relativeError, Worst } from './worst.js';

const inferred = (spec: ModelSpec): Graph => inferShapes(graphFromOnnx(parseModel(modelBytes(spec))));
const withSum = (graph: Graph): Graph => withLoss(graph, (value) => typeOf(graph, value));

/** @param note is told each comparison, before any of them is judged */
function expectRight(graph: Graph, wrt: readonly string[], feeds: ReadonlyMap<string, TensorValue>, note: (check: Check) => void = () => undefined): void {
  const checks = checkGradients(graph, differentiate(graph, { loss: 'loss', wrt }), feeds);
  checks.forEach(note);
  for (const check of checks) expect(relativeError(check), `${check.value}: ${check.gradient} and ${check.difference}`).toBeLessThanOrEqual(1e-4);
}

/** How many random graphs; the bar of the bench is 200. */
const randomGraphs = Number(process.env.STERNA_RANDOM_GRAPHS ?? 30);

describe('gradients of graphs', () => {
  const worst = new Worst();
  let tried = 0;
  afterAll(() => worst.write('graphs'));

  it('equal central differences in float64: random graphs', () => {
    fc.assert(fc.property(randomModels, (spec) => {
      const graph = withSum(inferred(spec));
      const weights = [...graph.constants].filter(([name, { dtype }]) => dtype === 'float32' && name.endsWith('.w')).slice(0, 2).map(([name]) => name);
      const feeds = new Map([['x', randomTensor([1, 3, 5, 4], 9)]]);
      const reached = weights.filter((name) => graph.nodes.some(({ inputs }) => inputs.includes(name)));
      const name = `graph ${++tried}`;
      expectRight(graph, ['x', ...reached], feeds, (check) => worst.note(name, check));
    }), { numRuns: randomGraphs });
  });

  it.each([false, true])('equal central differences in float64: batch normalization by the statistics of the batch, which are outputs: %s', (given) => {
    const graph = batchNormalized(given);
    expectRight(graph, ['x', 's', 'b'], new Map([['x', randomTensor([4, 3, 3, 2], 2)]]));
  });

  it('add up where a value is read twice, and are those of intermediate values, too', () => {
    const graph = inferred({ inputs: { x: [3] }, nodes: [node('Mul', ['x', 'x'], ['y']), node('Mul', ['y', 'x'], ['z']), node('ReduceSum', ['z'], ['loss'], { keepdims: 0 })], outputs: ['loss'] });
    const { graph: made, gradients } = differentiate(graph, { loss: 'loss', wrt: ['x', 'y'] });
    const [dx, dy] = evaluate(made, new Map([['x', floats([3], 1, 2, 3)]]), [gradients.get('x') ?? '', gradients.get('y') ?? '']);
    expect(Array.from(dx?.data ?? [], Number)).toEqual([3, 12, 27]);
    expect(Array.from(dy?.data ?? [], Number)).toEqual([1, 2, 3]);
  });
});

/** Inference replaces the training form, so the node is put in afterwards. The running mean and variance equal constants of the gradient. */
function batchNormalized(given: boolean): Graph {
  const spec: ModelSpec = { opset: 17, inputs: { x: [4, 3, 3, 2] }, constants: { s: randomTensor([3], 4), b: randomTensor([3], 5), m: floats([3], 0, 0, 0), v: floats([3], 1, 1, 1) }, nodes: [node('BatchNormalization', ['x', 's', 'b', 'm', 'v'], ['y'])], outputs: ['y'] };
  const graph = inferred(spec);
  const [first] = graph.nodes;
  if (first === undefined) throw new Error('no node');
  const statistic = { dtype: 'float32', shape: [3] } as const;
  const whole = withSum({
    ...graph, types: new Map([...graph.types, ['mean', statistic], ['variance', statistic]]),
    nodes: [{ ...first, outputs: ['y', 'mean', 'variance'], attributes: new Map([...first.attributes, ['training_mode', { type: 'int', value: 1 }], ['momentum', { type: 'float', value: 0 }]]) }],
  });
  return { ...whole, outputs: [...whole.outputs, ...(given ? ['mean', 'variance'] : [])] };
}

describe('straight-through rules', () => {
  const values = [-0.9, -0.26, 0.04, 0.31, 0.77, 2.5];
  const [scale, zero, weight] = [0.1, 3, [1, -2, 3, 0.5, -1, 2]];
  const spec: ModelSpec = {
    opset: 17, inputs: { x: [6] }, constants: { s: scalar('float32', scale), z: scalar('uint8', zero), w: floats([6], ...weight) },
    nodes: [node('QuantizeLinear', ['x', 's', 'z'], ['q']), node('DequantizeLinear', ['q', 's', 'z'], ['d']), node('Mul', ['d', 'w'], ['m']), node('ReduceSum', ['m'], ['loss'], { keepdims: 0 })], outputs: ['loss'],
  };

  it('let gradients pass inside the range, and give scale and zero-point theirs as LSQ does', () => {
    const { graph, gradients } = differentiate(inferred(spec), { loss: 'loss', wrt: ['x', 's', 'z'] });
    const [dx, ds, dz] = evaluate(graph, new Map([['x', floats([6], ...values)]]), [...gradients.values()]).map(({ data }) => Array.from(data, Number));
    const inside = values.map((x) => x / scale + zero > -0.5 && x / scale + zero < 255.5);
    expect(inside).toEqual([false, true, true, true, true, true]);
    expect(dx).toEqual(weight.map((w, i) => (inside[i] === true ? expect.closeTo(w, 6) as number : 0)));
    const perElement = values.map((x, i) => (inside[i] === true ? Math.round(x / scale) - x / scale : Math.round(Math.max(x / scale, -zero))));
    expect(ds?.[0]).toBeCloseTo(perElement.reduce((sum, d, i) => sum + d * (weight[i] ?? 0), 0), 5);
    expect(dz?.[0]).toBeCloseTo(values.reduce((sum, _, i) => sum - (inside[i] === true ? 0 : (weight[i] ?? 0) * scale), 0), 6);
  });

  it('sum the gradients of scales along an axis', () => {
    const perAxis: ModelSpec = {
      opset: 17, inputs: { x: [2, 3] }, constants: { s: floats([2], 0.1, 0.2), z: fromNumbers('int8', [2], [0, 0]), w: floats([2, 3], 1, 2, 3, 4, 5, 6) },
      nodes: [node('QuantizeLinear', ['x', 's', 'z'], ['q'], { axis: 0 }), node('DequantizeLinear', ['q', 's', 'z'], ['d'], { axis: 0 }), node('Mul', ['d', 'w'], ['m']), node('ReduceSum', ['m'], ['loss'], { keepdims: 0 })], outputs: ['loss'],
    };
    const { graph, gradients } = differentiate(inferred(perAxis), { loss: 'loss', wrt: ['s'] });
    const [ds] = evaluate(graph, new Map([['x', floats([2, 3], 0.14, 0.2, -0.07, 0.5, 0.61, 0.99)]]), [...gradients.values()]);
    expect(ds?.dims).toEqual([2]);
    const part = (x: number, s: number): number => Math.round(x / s) - x / s;
    expect(Number(ds?.data[0])).toBeCloseTo(part(0.14, 0.1) + 2 * part(0.2, 0.1) + 3 * part(-0.07, 0.1), 5);
    expect(Number(ds?.data[1])).toBeCloseTo(4 * (2 - 2.5) + 5 * part(0.61, 0.2) + 6 * part(0.99, 0.2), 5);
  });
});

/** What small networks are made of: convolutions of every kind, pools, a gate, a head with softmax. */
const network: ModelSpec = {
  opset: 17, inputs: { x: [2, 2, 8, 8], labels: [2, 4] },
  constants: {
    w1: randomTensor([6, 2, 3, 3], 1, -0.5, 0.5), b1: randomTensor([6], 2), w2: randomTensor([6, 1, 3, 3], 3), w3: randomTensor([4, 6, 1, 1], 4), w4: randomTensor([4, 3, 2, 2], 5),
    w5: randomTensor([3, 4], 6), b5: randomTensor([4], 7), axes: fromNumbers('int64', [2], [2, 3]), all: fromNumbers('int64', [2], [0, 1]),
  },
  nodes: [
    node('Conv', ['x', 'w1', 'b1'], ['c1'], { strides: [2, 2], pads: [1, 1, 1, 1] }), node('HardSwish', ['c1'], ['h1']),
    node('Conv', ['h1', 'w2'], ['c2'], { pads: [1, 1, 1, 1], group: 6 }), node('Relu', ['c2'], ['h2']), node('MaxPool', ['h2'], ['p2'], { kernel_shape: [2, 2], strides: [1, 1] }),
    node('Conv', ['p2', 'w3'], ['c3']), node('Sigmoid', ['c3'], ['g3']), node('Mul', ['c3', 'g3'], ['h3']),
    node('ConvTranspose', ['h3', 'w4'], ['c4'], { strides: [2, 2] }), node('AveragePool', ['c4'], ['p4'], { kernel_shape: [2, 2], strides: [2, 2] }),
    node('ReduceMean', ['p4'], ['f'], { axes: [2, 3], keepdims: 0 }), node('Gemm', ['f', 'w5', 'b5'], ['logits']), node('LogSoftmax', ['logits'], ['logp'], { axis: -1 }),
    node('Mul', ['logp', 'labels'], ['picked']), node('ReduceSum', ['picked', 'all'], ['loss'], { keepdims: 0 }),
  ],
  outputs: ['loss'],
};

describe('graphs with gradients', () => {
  const wrt = ['w1', 'b1', 'w2', 'w3', 'w4', 'w5', 'b5'];
  const feeds = { x: randomTensor([2, 2, 8, 8], 11), labels: floats([2, 4], 0, -1, 0, 0, 0, 0, 0, -1) };
  const { graph, gradients } = differentiate(inferred(network), { loss: 'loss', wrt });
  const bytes = serializeModel(graphToOnnx(graph));
  const names = ['loss', ...gradients.values()];
  const wanted = evaluate(graph, new Map(Object.entries(feeds)), names);

  const expectSame = (got: Readonly<Record<string, { data: ArrayLike<number | bigint> }>>): void => names.forEach((name, i) => {
    const { maximum, range } = difference(got[name]?.data ?? [], Float64Array.from(wanted[i]?.data ?? [], Number));
    expect(maximum, name).toBeLessThanOrEqual(1e-4 * Math.max(range, 1e-2));
  });

  it.skipIf(oracleMissing !== undefined)('run on onnxruntime', async () => expectSame(await oracle(bytes, feeds)));

  it.skipIf(nativeMissing !== undefined)('run on the native engine', async () => {
    const session = await openNative(bytes);
    expectSame(await session.run(Object.fromEntries(Object.entries(feeds).map(([name, value]) => [name, asTensor(value)]))));
    await session.close();
  });

  it.skipIf(oracleMissing !== undefined)('take weights as inputs', async () => {
    const fed = constantsToInputs(graph, wrt);
    expect(fed.inputs).toEqual(['x', 'labels', ...wrt]);
    expectSame(await oracle(serializeModel(graphToOnnx(fed)), { ...feeds, ...Object.fromEntries(wrt.map((name) => [name, network.constants?.[name] ?? floats([0])])) }));
  });

  it.skipIf(oracleMissing !== undefined).each([false, true])('run batch normalization in training mode on onnxruntime; statistics are outputs: %s', async (given) => {
    const normalized = batchNormalized(given);
    const result = differentiate(normalized, { loss: 'loss', wrt: ['x', 's', 'b'] });
    const x = randomTensor([4, 3, 3, 2], 2);
    const got = await oracle(serializeModel(graphToOnnx(result.graph)), { x });
    for (const [i, value] of evaluate(result.graph, new Map([['x', x]]), [...result.gradients.values()]).entries()) {
      const { maximum, range } = difference(got[[...result.gradients.values()][i] ?? '']?.data ?? [], Float64Array.from(value.data, Number));
      expect(maximum).toBeLessThanOrEqual(1e-4 * Math.max(range, 1e-2));
    }
  });
});

describe('what has no gradient', () => {
  const sum = (from: string) => node('ReduceSum', [from], ['loss'], { keepdims: 0 });
  const spec = (nodes: ModelSpec['nodes'], more: Partial<ModelSpec> = {}): ModelSpec => ({ opset: 17, inputs: { x: [3, 3] }, nodes, outputs: ['loss'], ...more });

  it.each([
    ['an operator without a gradient, with the way round', spec([node('Mod', ['x', 'k'], ['y'], { fmod: 1 }), sum('y')], { constants: { k: floats([], 2) } }), ['x'], /Mod 'y': there is no gradient for this operator\. Freeze what lies before it/],
    ['a loss of several elements', spec([node('Relu', ['x'], ['loss'])]), ['x'], /Loss 'loss': expected float32 of one element but found float32 \[3, 3\]/],
    ['a value that the loss does not depend on', spec([node('Floor', ['x'], ['y']), sum('y')]), ['x'], /The loss 'loss' does not change with 'x'/],
    ['a value that is not there', spec([sum('x')]), ['w'], /The graph has no value 'w'/],
    ['the same value twice', spec([sum('x')]), ['x', 'x'], /Expected different values/],
  ] as const)('is refused with E_GRADIENT: %s', (_, model, wrt, message) => {
    expect(() => differentiate(inferred(model), { loss: 'loss', wrt })).toThrow(expect.objectContaining({ code: 'E_GRADIENT', message: expect.stringMatching(message) as string }));
  });

  it('is a softmax that flattens, as before operator set 13', () => {
    const graph = inferred({ ...spec([node('Softmax', ['x'], ['y'], { axis: 0 }), sum('y')]), opset: 11 });
    expect(() => differentiate(graph, { loss: 'loss', wrt: ['x'] })).toThrow(expect.objectContaining({ code: 'E_MODEL_OP', details: { node: 'y', op: 'Softmax', attribute: 'axis' } }));
  });

  it('is no obstacle where no gradient has to pass', () => {
    const graph = inferred(spec([node('Mod', ['x', 'k'], ['y'], { fmod: 1 }), node('Mul', ['y', 'w'], ['z']), sum('z')], { constants: { k: floats([], 2), w: floats([], 3) } }));
    expect(differentiate(graph, { loss: 'loss', wrt: ['w'] }).gradients.get('w')).toBe('w.gradient');
  });
});
