/** Weights in floats of few bits: which split is chosen, what the file becomes, and what is refused. */
import { writeFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { chooseMinifloat, toMinifloats } from '../../../deploy/lab/methods/minifloats.js';
import { largestOf } from '../../../runtime/minifloat/format.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { outputCosine, outputsOf } from '../../../runtime/quantize/report/fidelity.js';
import { createSession } from '../../../runtime/session.js';
import { asTensor } from '../../../runtime/tensor.js';
import { invertedResiduals } from '../../runtime/support/inverted-residuals.js';
import { modelBytes, node, randomTensor } from '../../runtime/support/models.js';
import { nativeMissing } from '../../runtime/support/native.js';
import { oracleMissing } from '../../runtime/support/oracle.js';
import { temporaryFolder } from '../../support/folder.js';
import { captureCli } from '../cli/capture.js';

const normal = (size: number, seed: number): Float32Array => randomTensor([size], seed).data as Float32Array;
const tensorOf = (data: Float32Array) => ({ data, channels: 8, inner: data.length / 8 });

describe('the split of a minifloat', () => {
  it('has more bits of exponent the more the weights differ in size, and holds the largest', () => {
    const even = normal(2048, 1);
    const uneven = even.map((x, i) => x * 2 ** (-2 * Math.floor((8 * i) / even.length)));
    const [a, b] = [chooseMinifloat(tensorOf(even), 11), chooseMinifloat(tensorOf(uneven), 11)];
    expect(b.exponent).toBeGreaterThan(a.exponent);
    for (const format of [a, b]) expect(largestOf(format)).toBeGreaterThan(0.99 * even.reduce((most, x) => Math.max(most, Math.abs(x)), 0));
  });

  it('does not serve channels that are all but dead', () => {
    const alive = normal(2048, 1);
    const dead = alive.map((x, i) => (i < 256 ? x * 1e-30 : x));
    expect(chooseMinifloat(tensorOf(dead), 11)).toEqual(chooseMinifloat(tensorOf(alive), 11));
  });

  it('looks at what the weights multiply where that is known', () => {
    const data = normal(2048, 1).map((x, i) => (i % 2 === 0 ? x : x / 512));
    const large = chooseMinifloat({ ...tensorOf(data), importance: (i) => (i % 2 === 0 ? 1 : 1e-6) }, 9);
    const small = chooseMinifloat({ ...tensorOf(data), importance: (i) => (i % 2 === 0 ? 1e-8 : 1) }, 9);
    expect(small.exponent).toBeGreaterThan(large.exponent);
  });
});

const float = modelBytes(invertedResiduals('float32', 16));
const feeds = Array.from({ length: 6 }, (_, i) => ({ x: asTensor(randomTensor([1, 3, 16, 16], i + 1)) }));
const missing = nativeMissing ?? oracleMissing;

async function outputs(model: Uint8Array, engine: 'native' | 'onnxruntime') {
  const session = await createSession(model, { engine });
  return outputsOf(session, feeds).finally(() => session.close());
}

describe('a model in minifloats', () => {
  it.skipIf(missing !== undefined)('comes closer to the float one with each bit, on both engines', async () => {
    const expected = await outputs(float, 'onnxruntime');
    const losses: number[] = [];
    for (const bits of [6, 8, 11, 16]) {
      const { model, report } = await toMinifloats(float, { bits, samples: feeds });
      const actual = await outputs(model, 'onnxruntime');
      losses.push(1 - outputCosine(expected, actual));
      expect(outputCosine(actual, await outputs(model, 'native'))).toBeGreaterThan(1 - 1e-6);
      expect(report).toMatchObject({ bits, samples: 6, output_bytes: model.length });
      expect(report.tensors.every(({ sqnr_db, output_sqnr_db }) => sqnr_db !== null && output_sqnr_db !== null)).toBe(true);
    }
    expect(losses).toEqual([...losses].sort((a, b) => b - a));
    expect(losses[2]).toBeLessThan(1e-3);
  });

  it('keeps its interface, takes weights from nodes and from inputs with defaults, and leaves others alone', async () => {
    const weight = randomTensor([32, 64], 3);
    const bytes = modelBytes({
      opset: 12, inputs: { x: ['batch', 32], old: [64, 64] }, outputs: ['y'],
      constants: { old: randomTensor([64, 64], 4), added: randomTensor([64, 64], 5), few: randomTensor([64, 3], 6) },
      nodes: [{ ...node('Constant', [], ['w']), attributes: new Map([['value', { type: 'tensor', value: weight }]]) }, node('MatMul', ['x', 'w'], ['a']), node('MatMul', ['a', 'old'], ['b']), node('MatMul', ['b', 'added'], ['c']), node('Gemm', ['added', 'added'], ['d']), node('Add', ['c', 'd'], ['e']), node('MatMul', ['e', 'few'], ['y'])],
    });
    const { model, report } = await toMinifloats(bytes, { bits: 11 });
    const read = parseModel(model);
    expect(report.tensors.map(({ tensor }) => tensor).sort()).toEqual(['old', 'w']);
    expect(read.graph.inputs.map(({ name, dims }) => [name, dims])).toEqual([['x', ['batch', 32]]]);
    expect(read.opsets.get('')).toBe(12);
    expect(read.graph.initializers.get('w.codes')?.data.length).toBe((32 * 64 * 11) / 8);
    expect([...read.graph.initializers.keys()]).toEqual(expect.arrayContaining(['added', 'few']));
  });

  it('of an operator set before 10 is raised', async () => {
    const bytes = modelBytes({ opset: 9, inputs: { x: [1, 32] }, outputs: ['y'], constants: { w: randomTensor([32, 64], 3) }, nodes: [node('MatMul', ['x', 'w'], ['y'])] });
    expect(parseModel((await toMinifloats(bytes, { bits: 8 })).model).opsets.get('')).toBe(13);
  });

  it.each([5, 17, 8.5])('of %s bits is refused', async (bits) => {
    await expect(toMinifloats(float, { bits })).rejects.toMatchObject({ code: 'E_QUANTIZE', message: expect.stringContaining(`received ${bits}`) as string });
  });

  it('without weights is refused', async () => {
    const bytes = modelBytes({ inputs: { x: [1, 4] }, outputs: ['y'], nodes: [node('Relu', ['x'], ['y'])] });
    await expect(toMinifloats(bytes, { bits: 11 })).rejects.toMatchObject({ code: 'E_QUANTIZE', message: expect.stringContaining('no float32 weights') as string });
  });
});

describe('sterna compress --weights', () => {
  it('writes the model, and tells split and error of each tensor', async () => {
    const folder = temporaryFolder();
    const [input, output] = [join(folder, 'in.onnx'), join(folder, 'out.onnx')];
    await writeFile(input, float);
    const json = await captureCli(['--json', 'compress', input, '-o', output, '--weights', 'minifloat11']);
    expect([json.code, JSON.parse(json.out) as object]).toMatchObject([0, { weights: 'minifloat11', bits: 11, samples: 0, output_bytes: (await readFile(output)).length }]);
    const text = await captureCli(['compress', input, '-o', output, '--weights', 'minifloat9']);
    expect(text.out).toMatch(/ e\dm\d .*floats of 9 bits now/s);
  });

  it.each([
    [['--weights', 'minifloat17'], /Expected minifloat6 to minifloat16, int8 or int4 for --weights but received minifloat17/],
    [['--weights', 'float8'], /received float8/],
    [['--weights', 'minifloat8', '--format', 'int8'], /--format is of no meaning with --weights/],
    [['--weights', 'minifloat8', '--max-drop', '0.1'], /--max-drop is of no meaning/],
    [[], /Expected --calibrate <source>/],
  ])('refuses %j', async (options, message) => {
    const { code, out } = await captureCli(['--json', 'compress', 'in.onnx', '-o', 'out.onnx', ...options]);
    expect([code, JSON.parse(out) as object]).toMatchObject([2, { error: { code: 'E_USAGE', message: expect.stringMatching(message) as string } }]);
  });
});
