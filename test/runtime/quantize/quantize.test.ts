import { describe, expect, it } from 'vitest';
import { fromNumbers } from '../../../runtime/graph/tensor-value.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { quantizeModel, type QuantizeOptions } from '../../../runtime/quantize/quantize.js';
import { outputSteps } from '../../../runtime/quantize/report/output-steps.js';
import { createSession } from '../../../runtime/session.js';
import type { Tensor } from '../../../runtime/tensor.js';
import { modelBytes, node, randomTensor, type ModelSpec } from '../support/models.js';
import { oracleMissing } from '../support/oracle.js';
import { feedsFor, middleNet, residualNet } from './networks.js';

const native: QuantizeOptions = { engine: 'native' };
const residual = modelBytes(residualNet());

describe('quantizeModel', () => {
  it.each(['minmax', 'percentile', 'mse'] as const)('quantizes by %s, and says what it cost', async (method) => {
    const { model, report } = await quantizeModel(residual, feedsFor(12), { ...native, method });
    expect(report).toMatchObject({ input_bytes: residual.length, output_bytes: model.length, method, engine: 'native', calibration_samples: 12, warnings: [] });
    expect(report.output_cosine).toBeGreaterThan(0.999);
    expect(report.layers.map(({ op, format }) => `${op} ${format}`)).toEqual([
      'Conv+PRelu int8', 'Conv+Relu int8', 'Conv int8', 'Conv int8', 'Add+Relu int8', 'GlobalAveragePool int8', 'Reshape int8', 'Gemm int8', 'Softmax float32',
    ]);
    for (const { name, sqnr_db } of report.layers) expect(sqnr_db, name).toBeGreaterThan(25);
  });

  it('tells its stages, each from nothing to all of it', async () => {
    const told = new Map<string, [number, number | null][]>();
    const onProgress: QuantizeOptions['onProgress'] = (stage, done, total) => void told.set(stage, [...(told.get(stage) ?? []), [done, total]]);
    await quantizeModel(modelBytes(middleNet()), feedsFor(6), { ...native, format: 'w46', maxDrop: 1e-9, onProgress });
    expect([...told.keys()]).toEqual(['channels', 'calibrate', 'ranges', 'round', 'choose', 'measure']);
    for (const [stage, steps] of told) expect([stage, steps[0]?.[0], steps.at(-1)?.[0]]).toEqual([stage, 0, steps.at(-1)?.[1]]);
    expect(told.get('calibrate')).toEqual([0, 1, 2, 3, 4, 5, 6].map((done) => [done, 6]));
  });

  it('chooses the method that leaves most of the outputs', async () => {
    // One value of each sample is far outside of where the others lie.
    const feeds = feedsFor(12).map(({ x }) => {
      const data = Float32Array.from(x?.data ?? [], Number);
      data[7] = 60;
      return { x: { type: 'float32', dims: [1, 3, 8, 8], data } satisfies Tensor };
    });
    const [auto, minmax] = await Promise.all([{}, { method: 'minmax' } as const].map((options) => quantizeModel(residual, feeds, { ...native, measuredSamples: 12, ...options })));
    expect(minmax?.report.method).toBe('minmax');
    expect(auto?.report.method).not.toBe('minmax');
    expect(auto?.report.output_cosine).toBeGreaterThan(minmax?.report.output_cosine ?? 1);
  });

  it('writes 8-bit weights, 32-bit biases and 8-bit activations', async () => {
    const { model } = await quantizeModel(residual, feedsFor(4), native);
    const { graph, opsets } = parseModel(model);
    expect(opsets.get('')).toBeGreaterThanOrEqual(13);
    const stored = graph.nodes.filter(({ op }) => op === 'DequantizeLinear').map(({ inputs }) => graph.initializers.get(inputs[0] ?? '')?.dtype ?? 'activation');
    expect(stored.filter((type) => type === 'int8')).toHaveLength(5);
    expect(stored.filter((type) => type === 'int32')).toHaveLength(5); // c4 had no bias: the correction gave it one
    expect(stored.filter((type) => type === 'activation')).toHaveLength(9);
  });

  it('puts out floats from the last layers on request', async () => {
    const [floats, rounded] = [await quantizeModel(residual, feedsFor(8), { ...native, floatHeads: true }), await quantizeModel(residual, feedsFor(8), native)];
    const last = ({ report }: typeof floats) => report.layers.find(({ op }) => op === 'Gemm');
    expect(last(floats)).toMatchObject({ format: 'int8', output: 'float32' });
    expect(last(rounded)).not.toHaveProperty('output');
    expect(last(floats)?.sqnr_db).toBeGreaterThan(last(rounded)?.sqnr_db ?? Infinity);
    expect(floats.report.output_cosine).toBeGreaterThan(rounded.report.output_cosine);
  });

  it('gives the same bytes for the same data', async () => {
    const [first, second] = await Promise.all([quantizeModel(residual, feedsFor(4), native), quantizeModel(residual, feedsFor(4), native)]);
    expect(first.model).toEqual(second.model);
  });

  it('takes a stream, and closes it when it fails', async () => {
    let closed = false;
    async function* stream() {
      try {
        for (const feeds of feedsFor(20)) yield feeds;
        yield { x: { type: 'float32', dims: [1, 3, 8, 8], data: new Float32Array(192).fill(NaN) } } satisfies Record<string, Tensor>;
      } finally {
        closed = true;
      }
    }
    await expect(quantizeModel(residual, stream(), native)).rejects.toMatchObject({ code: 'E_QUANTIZE', details: { value: 'x', sample: 20 } });
    expect(closed).toBe(true);
  });

  it('keeps excluded nodes in floating point', async () => {
    const { report } = await quantizeModel(residual, feedsFor(4), { ...native, exclude: ['c2'] });
    expect(report.layers.find(({ name }) => name === 'c2')).toMatchObject({ format: 'float32' });
  });

  it('needs an output that is quantized to keep its name', async () => {
    const spec = { ...residualNet(), outputs: ['a2', 'logits'] };
    const { model } = await quantizeModel(modelBytes(spec), feedsFor(4), native);
    const session = await createSession(model);
    expect(session.outputs.map(({ name }) => name)).toEqual(['a2', 'logits']);
    await session.close();
    expect([...outputSteps(model).keys()].sort()).toEqual(['a2', 'logits']);
  });

  it('survives a dead channel and names a dead layer', async () => {
    const spec = residualNet();
    const dead = { ...spec, constants: { ...spec.constants, w3: fromNumbers('float32', [8, 8, 1, 1], new Float32Array(64)), b3: fromNumbers('float32', [8], new Float32Array(8)) } };
    const { model, report } = await quantizeModel(modelBytes(dead), feedsFor(4), native);
    expect(report.warnings).toMatchObject([{ kind: 'dead_value', message: expect.stringContaining("'c3'") as string }, { kind: 'dead_weights', layer: 'c3' }]);
    expect(report.output_cosine).toBeGreaterThan(0.999);
    const session = await createSession(model);
    const result = await session.run(feedsFor(1)[0] ?? {});
    expect([...(result['y']?.data ?? [])].every((value) => Number.isFinite(Number(value)))).toBe(true);
    await session.close();
  });

  it('says when there is nothing to quantize', async () => {
    const spec: ModelSpec = { inputs: { x: [1, 4] }, nodes: [node('Exp', ['x'], ['y'])], outputs: ['y'] };
    const { report } = await quantizeModel(modelBytes(spec), feedsFor(2, [1, 4]), native);
    expect(report.warnings).toMatchObject([{ kind: 'no_layer' }]);
  });
});

describe('quantizeModel refuses', () => {
  const refused = (feeds: Record<string, Tensor>[], options: QuantizeOptions = {}) => expect(quantizeModel(residual, feeds, { ...native, ...options })).rejects;
  const constant = (value: number, dims: number[] = [1, 3, 8, 8]): Record<string, Tensor>[] => [{ x: { type: 'float32', dims, data: new Float32Array(dims.reduce((a, b) => a * b, 1)).fill(value) } }];

  it('no data', () => refused([]).toMatchObject({ code: 'E_QUANTIZE', message: expect.stringContaining('received none') as string }));
  it('data of another shape, naming the sample', () => refused(constant(1, [1, 3, 4, 4])).toMatchObject({ code: 'E_QUANTIZE', details: { sample: 0, input: 'x' } }));
  it('data that is all zero', () => refused(constant(0)).toMatchObject({ code: 'E_QUANTIZE', details: { value: 'x' } }));
  it('NaN', () => refused([...feedsFor(1), ...constant(NaN)]).toMatchObject({ code: 'E_QUANTIZE', details: { value: 'x', sample: 1 } }));
  it('infinity that the network makes', () => refused(constant(3e38)).toMatchObject({ code: 'E_QUANTIZE' }));
  it('a node to exclude that is not there', () => refused(feedsFor(1), { exclude: ['nobody'] }).toMatchObject({ code: 'E_QUANTIZE', details: { node: 'nobody' } }));
  it('a percentile that makes no sense', () => refused(feedsFor(1), { method: 'percentile', percentile: 12 }).toMatchObject({ code: 'E_QUANTIZE' }));

  it('a model that is quantized already', async () => {
    const { model } = await quantizeModel(residual, feedsFor(2), native);
    await expect(quantizeModel(model, feedsFor(2), native)).rejects.toMatchObject({ code: 'E_QUANTIZE', message: expect.stringContaining('quantized already') as string });
  });

  it('bytes that are no model', async () => {
    await expect(quantizeModel(new Uint8Array([1, 2, 3]), feedsFor(1), native)).rejects.toMatchObject({ code: 'E_MODEL_MALFORMED' });
  });
});

describe.skipIf(oracleMissing !== undefined)(`quantized models on both engines${oracleMissing === undefined ? '' : ` (${oracleMissing})`}`, () => {
  it('agree to one step', async () => {
    const { model } = await quantizeModel(modelBytes({ ...residualNet(), outputs: ['logits'] }), feedsFor(8));
    const step = outputSteps(model).get('logits') ?? NaN;
    const [ours, theirs] = await Promise.all([createSession(model), createSession(model, { engine: 'onnxruntime' })]);
    for (const feeds of feedsFor(6)) {
      const a = (await ours.run(feeds))['logits']?.data ?? [];
      const b = (await theirs.run(feeds))['logits']?.data ?? [];
      expect(a.length).toBe(5);
      a.forEach((value, i) => expect(Math.abs(Number(value) - Number(b[i]))).toBeLessThanOrEqual(1.001 * step));
    }
    await ours.close();
    await theirs.close();
  });

  it('calibrate alike on either', async () => {
    const feeds = feedsFor(6);
    const [a, b] = await Promise.all([quantizeModel(residual, feeds, native), quantizeModel(residual, feeds, { engine: 'onnxruntime' })]);
    expect(a.report.output_cosine).toBeCloseTo(b.report.output_cosine, 4);
  });
});

describe('layers that share weights and a bias', () => {
  /** A detector's head that two levels of a pyramid share. */
  const shared: ModelSpec = {
    inputs: { x: [1, 3, 8, 8] },
    constants: { stem: randomTensor([8, 3, 3, 3], 1), w: randomTensor([4, 8, 1, 1], 2), b: randomTensor([4], 3) },
    nodes: [
      node('Conv', ['x', 'stem'], ['fine'], { pads: [1, 1, 1, 1] }), node('MaxPool', ['fine'], ['coarse'], { kernel_shape: [2, 2], strides: [2, 2] }),
      node('Conv', ['fine', 'w', 'b'], ['y1']), node('Conv', ['coarse', 'w', 'b'], ['y2']),
    ],
    outputs: ['y1', 'y2'],
  };

  it.each(['int8', 'w4a8'] as const)('give a file in %s in which every node has a name of its own', async (format) => {
    const { model, report } = await quantizeModel(modelBytes(shared), feedsFor(4), { ...native, format, edges: true });
    const names = parseModel(model).graph.nodes.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(report.output_cosine).toBeGreaterThan(0.95);
    const session = await createSession(model, { engine: oracleMissing === undefined ? 'onnxruntime' : 'native' });
    await session.close();
  });
});

describe('warnings of damage', () => {
  it('name the layers and the likely cause when little is left of the outputs', async () => {
    // One weight of each output channel is so large that 8 bits leave nothing of the others, which the data look at.
    const w = randomTensor([4, 8, 1, 1], 5);
    const data = Float32Array.from(w.data, Number);
    for (let o = 0; o < 4; o++) data[8 * o] = 1e5;
    const spec: ModelSpec = { inputs: { x: [1, 8, 4, 4] }, constants: { w: { ...w, data } }, nodes: [node('Conv', ['x', 'w'], ['y'])], outputs: ['y'] };
    const feeds = Array.from({ length: 4 }, (_, i) => {
      const values = Float32Array.from(randomTensor([1, 8, 4, 4], 20 + i).data, Number).fill(0, 0, 16);
      return { x: { type: 'float32', dims: [1, 8, 4, 4], data: values } satisfies Tensor };
    });
    const { report } = await quantizeModel(modelBytes(spec), feeds, { ...native, equalize: false });
    expect(report.output_cosine).toBeLessThan(0.95);
    expect(report.warnings).toContainEqual(expect.objectContaining({ kind: 'low_cosine', message: expect.stringContaining('prepared as in training') as string }));
    expect(report.warnings).toContainEqual(expect.objectContaining({ kind: 'low_sqnr', layer: 'y', message: expect.stringContaining('--exclude y') as string }));
  });
});

describe('a value that only a saturating function reads', () => {
  /** Logits from -600 to 600 or so; `extra` is another reader of them. */
  const logits = (op: string, extra: 'none' | 'output' | 'product' = 'none'): ModelSpec => ({
    inputs: { x: [1, 4, 8, 8] },
    constants: { w: randomTensor([4, 4, 1, 1], 1, -200, 200), flat: fromNumbers('int64', [2], [1, -1]) },
    nodes: [
      node('Conv', ['x', 'w'], ['z']), node('Reshape', ['z', 'flat'], ['r']), node(op, ['r'], ['s']),
      ...(extra === 'product' ? [node('Mul', ['r', 's'], ['y'])] : []),
    ],
    outputs: [extra === 'product' ? 'y' : 's', ...(extra === 'output' ? ['z'] : [])],
  });
  const feeds = feedsFor(8, [1, 4, 8, 8]);
  /** What the codes of the logits span, and their zero-point. */
  const gridOf = async (spec: ModelSpec): Promise<[number, number]> => {
    const { model } = await quantizeModel(modelBytes(spec), feeds, { ...native, method: 'minmax' });
    const { initializers } = parseModel(model).graph;
    return [255 * Number(initializers.get('z_scale')?.data[0]), Number(initializers.get('z_zero_point')?.data[0])];
  };
  const gridOfLogits = async (spec: ModelSpec): Promise<number> => (await gridOf(spec))[0];

  it.each([['Sigmoid', 16], ['Tanh', 16], ['HardSigmoid', 5]])('is limited to where %s still changes', async (op, span) => {
    expect(await gridOfLogits(logits(op))).toBeCloseTo(span, 3);
  });

  it.each([['HardSwish', 3], ['Gelu', 5], ['Mish', 8], ['Softplus', 8], ['Elu', 8]])('is limited on the left where %s has all but ended there', async (op, left) => {
    const [grid, zeroPoint] = await gridOf({ ...logits(op), opset: 22 });
    expect(zeroPoint / 255 * grid).toBeLessThan(left + 2);
    expect(grid).toBeGreaterThan(150);
  });

  it.each([['Sigmoid', 8], ['HardSigmoid', 2.5]])('is limited on the left when it is multiplied by its own %s, as in Silu', async (op, left) => {
    const [grid, zeroPoint] = await gridOf(logits(op, 'product'));
    expect(zeroPoint / 255 * grid).toBeLessThan(left + 2);
    expect(grid).toBeGreaterThan(150);
  });

  it('keeps its range when it is an output', async () => {
    expect(await gridOfLogits(logits('Sigmoid', 'output'))).toBeGreaterThan(400);
  });

  it('keeps its range in front of a Softmax, which depends on differences', async () => {
    expect(await gridOfLogits(logits('Softmax'))).toBeGreaterThan(400);
  });

  it('keeps a narrower range than the limit', async () => {
    const small = logits('Sigmoid');
    expect(await gridOfLogits({ ...small, constants: { ...small.constants, w: randomTensor([4, 4, 1, 1], 1, -0.5, 0.5) } })).toBeLessThan(8);
  });
});

describe('excluded layers', () => {
  it('do not keep their neighbours from being equalized', async () => {
    // Channel 0 of what the first layer makes is 30 times as large as the others; the two that read it make it small again.
    const by = (dims: number[], seed: number, touched: (i: number) => boolean, factor: number) => {
      const tensor = randomTensor(dims, seed);
      return { ...tensor, data: Float32Array.from(tensor.data, Number).map((value, i) => (touched(i) ? value * factor : value)) };
    };
    const spec: ModelSpec = {
      inputs: { x: [1, 3, 8, 8] },
      constants: {
        w1: by([8, 3, 3, 3], 1, (i) => i < 27, 30), w2: by([8, 8, 1, 1], 2, (i) => i % 8 === 0, 1 / 30), w3: by([8, 8, 1, 1], 3, (i) => i % 8 === 0, 1 / 30), w4: randomTensor([4, 8, 1, 1], 4),
      },
      nodes: [
        node('Conv', ['x', 'w1'], ['a'], { pads: [1, 1, 1, 1] }), node('Conv', ['a', 'w2'], ['b']), node('Conv', ['a', 'w3'], ['c']), node('Add', ['b', 'c'], ['s']),
        node('Conv', ['s', 'w4'], ['y']),
      ],
      outputs: ['y'],
    };
    const { report } = await quantizeModel(modelBytes(spec), feedsFor(8), { ...native, method: 'minmax', exclude: ['c'] });
    expect(report.layers.find(({ name }) => name === 'b')).toMatchObject({ format: 'int8' });
    expect(report.layers.find(({ name }) => name === 'b')?.sqnr_db).toBeGreaterThan(28);
  });
});
