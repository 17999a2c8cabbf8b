/** Networks of sound: convolutions over one axis, recurrent layers, and functions that few other networks have. */
import { describe, expect, it } from 'vitest';
import { openNative } from '../../../runtime/engines/native.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { quantizeModel } from '../../../runtime/quantize/quantize.js';
import { asTensor, type Tensor } from '../../../runtime/tensor.js';
import { modelBytes, node, randomTensor, type ModelSpec } from '../support/models.js';
import { nativeMissing } from '../support/native.js';
import { difference, oracle, oracleMissing } from '../support/oracle.js';

const samples = (dims: readonly number[], count = 8): Record<string, Tensor>[] => Array.from({ length: count }, (_, i) => ({ x: asTensor(randomTensor(dims, i + 50)) }));
const opsOf = (model: Uint8Array): string[] => parseModel(model).graph.nodes.map(({ op }) => op);

/** Of the output's range, here and in onnxruntime, beside the float model. */
async function errors(spec: ModelSpec, model: Uint8Array, dims: readonly number[]): Promise<number[]> {
  const x = randomTensor(dims, 99);
  const { y: want } = await oracle(modelBytes(spec), { x });
  const session = await openNative(model);
  const { y: ours } = await session.run({ x: asTensor(x) });
  await session.close();
  const { y: theirs } = await oracle(model, { x });
  return [ours?.data ?? [], theirs?.data ?? []].map((data) => {
    const { maximum, range } = difference(data as ArrayLike<number>, want?.data ?? []);
    return maximum / range;
  });
}

const convolutions: ModelSpec = {
  inputs: { x: [1, 4, 40] }, constants: { a: randomTensor([16, 4, 5], 1), ab: randomTensor([16], 2), d: randomTensor([16, 1, 3], 3), p: randomTensor([8, 16, 1], 4) }, outputs: ['y'],
  nodes: [
    node('Conv', ['x', 'a', 'ab'], ['c'], { pads: [1, 3], strides: [2] }), node('Relu', ['c'], ['r']), node('Conv', ['r', 'd'], ['e'], { group: 16, dilations: [2], pads: [2, 2] }),
    node('LeakyRelu', ['e'], ['l'], { alpha: { float: 0.1 } }), node('Conv', ['l', 'p'], ['y'], { kernel_shape: [1] }),
  ],
};

const recurrent = (op: 'LSTM' | 'GRU', directions: number): ModelSpec => {
  const gates = op === 'LSTM' ? 4 : 3;
  return {
    inputs: { x: [6, 1, 12] }, outputs: ['y'],
    constants: { w: randomTensor([directions, gates * 16, 12], 1), r: randomTensor([directions, gates * 16, 16], 2), b: randomTensor([directions, 2 * gates * 16], 3) },
    nodes: [node(op, ['x', 'w', 'r', 'b'], ['y'], { hidden_size: 16, ...(directions === 2 ? { direction: 'bidirectional' } : {}) })],
  };
};

describe.skipIf(nativeMissing !== undefined || oracleMissing !== undefined)(`int8 of sound networks${nativeMissing ?? oracleMissing ?? ''}`, () => {
  it('convolutions over one axis become 8-bit layers with what follows them', async () => {
    const { model, report } = await quantizeModel(modelBytes(convolutions), samples([1, 4, 40]), { engine: 'native' });
    expect(report.layers.filter(({ format }) => format === 'int8').map(({ op }) => op)).toEqual(expect.arrayContaining(['Conv+Relu', 'Conv+LeakyRelu', 'Conv']));
    // One way into two axes, and one back.
    expect(opsOf(model).filter((op) => op === 'Unsqueeze' || op === 'Squeeze')).toEqual(['Unsqueeze', 'Squeeze']);
    for (const error of await errors(convolutions, model, [1, 4, 40])) expect(error).toBeLessThan(0.05);
  });

  it.each([['LSTM', 1], ['LSTM', 2], ['GRU', 1]] as const)('the weights of %s in %s directions are stored in 8 bits', async (op, directions) => {
    const spec = recurrent(op, directions);
    const bytes = modelBytes(spec);
    const { model, report } = await quantizeModel(bytes, samples([6, 1, 12]), { engine: 'native' });
    expect(report.layers).toEqual([expect.objectContaining({ op, format: 'float32', weights: 'int8' })]);
    expect(report.warnings).toEqual([]);
    expect(model.length).toBeLessThan(0.5 * bytes.length);
    for (const error of await errors(spec, model, [6, 1, 12])) expect(error).toBeLessThan(0.02);
    expect(opsOf((await quantizeModel(bytes, samples([6, 1, 12]), { engine: 'native', exclude: ['y'] })).model)).toEqual([op]);
  });

  it('a recurrent layer behind 8-bit layers reads floats', async () => {
    const spec: ModelSpec = {
      inputs: { x: [1, 4, 20] }, constants: { a: randomTensor([12, 4, 3], 1), ...recurrent('LSTM', 1).constants }, outputs: ['y'],
      nodes: [node('Conv', ['x', 'a'], ['c'], { pads: [1, 1] }), node('Relu', ['c'], ['f']), node('Transpose', ['f'], ['t'], { perm: [2, 0, 1] }), node('LSTM', ['t', 'w', 'r', 'b'], ['y'], { hidden_size: 16 })],
    };
    const { model } = await quantizeModel(modelBytes(spec), samples([1, 4, 20]), { engine: 'native' });
    for (const error of await errors(spec, model, [1, 4, 20])) expect(error).toBeLessThan(0.05);
    const session = await openNative(model);
    expect(session.stats.interpretedNodes ?? 0).toBe(0);
    await session.close();
  });

  it.each([['Selu', ['Selu']], ['Celu', ['Celu']], ['Softsign', ['Softsign']], ['Swish', ['Sigmoid', 'Mul']]])('%s between convolutions is quantized', async (op, parts) => {
    const spec: ModelSpec = {
      opset: 24, inputs: { x: [1, 4, 8, 8] }, constants: { a: randomTensor([8, 4, 3, 3], 1), c: randomTensor([8, 8, 1, 1], 2) }, outputs: ['y'],
      nodes: [node('Conv', ['x', 'a'], ['p']), node(op, ['p'], ['q']), node('Conv', ['q', 'c'], ['y'])],
    };
    const { report } = await quantizeModel(modelBytes(spec), samples([1, 4, 8, 8]), { engine: 'native' });
    expect(report.layers.map(({ op: name, format }) => [name, format])).toEqual(['Conv', ...parts, 'Conv'].map((part) => [part, 'int8']));
    expect(report.output_cosine).toBeGreaterThan(0.99);
  });
});
