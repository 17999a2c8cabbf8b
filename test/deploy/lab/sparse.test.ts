/** SparseGPT: which weights become zero, what the others make up for, and models with zeros and integers on both engines. */
import { writeFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { sparsify } from '../../../deploy/lab/methods/sparse/sparsify.js';
import { sweep, unaware, type SweepSettings } from '../../../deploy/lab/methods/sparse/sweep.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { covariance, roundingOrder } from '../../../runtime/quantize/round/gptq.js';
import { outputsOf, outputCosine } from '../../../runtime/quantize/report/fidelity.js';
import { createSession } from '../../../runtime/session.js';
import { asTensor } from '../../../runtime/tensor.js';
import { invertedResiduals } from '../../runtime/support/inverted-residuals.js';
import { modelBytes, node, randomTensor } from '../../runtime/support/models.js';
import { nativeMissing } from '../../runtime/support/native.js';
import { oracleMissing } from '../../runtime/support/oracle.js';
import { temporaryFolder } from '../../support/folder.js';
import { captureCli } from '../cli/capture.js';

const [outputs, depth, count] = [8, 32, 400];
const rows = randomTensor([outputs, depth], 1).data as Float32Array;

/** Columns of which neighbours have much in common, so that they can make up for each other. */
function columns(): Float32Array {
  const noise = randomTensor([count, depth], 2).data as Float32Array;
  return noise.map((value, i) => value + (i % depth === 0 ? 0 : 0.9 * (noise[i - 1] ?? 0)));
}

const h = covariance(columns(), { count, stride: depth, first: 0, depth });

function errorOf(made: Float32Array): number {
  let sum = 0;
  for (let o = 0; o < outputs; o++) {
    const e = Array.from({ length: depth }, (_, k) => (rows[o * depth + k] ?? 0) - (made[o * depth + k] ?? 0));
    for (let i = 0; i < depth; i++) for (let j = 0; j < depth; j++) sum += (e[i] ?? 0) * (h[i * depth + j] ?? 0) * (e[j] ?? 0);
  }
  return sum;
}

const share = { sparsity: { kind: 'share', share: 0.5 } } as const;
const pattern = { sparsity: { kind: 'pattern', zeros: 2, of: 4 } } as const;

describe('a sweep', () => {
  it('sets as many weights to zero as it is told, and half of each four neighbours', () => {
    const order = roundingOrder(h, depth, count, { inOrder: true });
    expect(sweep(rows, order, share).rows.filter((w) => w === 0).length).toBe((outputs * depth) / 2);
    const patterned = sweep(rows, order, pattern).rows;
    for (let at = 0; at < patterned.length; at += 4) expect(patterned.subarray(at, at + 4).filter((w) => w === 0).length).toBe(2);
  });

  it.each<[string, SweepSettings]>([['a share', share], ['a pattern', pattern], ['integers', { grid: { largest: 7 } }], ['integers in groups', { grid: { largest: 7, group: 8 } }], ['zeros and integers', { ...pattern, grid: { largest: 7 } }]])('with %s costs the outputs less than the one that makes up for nothing', (_, settings) => {
    const aware = errorOf(sweep(rows, roundingOrder(h, depth, count, { inOrder: true }), settings).rows);
    expect(aware).toBeLessThan(0.95 * errorOf(sweep(rows, unaware(depth), settings).rows));
  });

  it('that knows nothing of the columns removes the smallest weights and leaves the others', () => {
    const made = sweep(rows, unaware(depth), { ...share, block: depth }).rows;
    const limit = [...rows].map(Math.abs).sort((a, b) => a - b)[(outputs * depth) / 2] ?? 0;
    expect([...made]).toEqual([...rows].map((w) => (Math.abs(w) < limit ? 0 : w)));
  });

  it('gives the integers and scales that its weights are made of', () => {
    const { rows: made, codes, scales } = sweep(rows, roundingOrder(h, depth, count, { inOrder: true }), { ...pattern, grid: { largest: 7, group: 8 } });
    expect([...made]).toEqual([...(codes ?? [])].map((code, i) => Math.fround(code * (scales?.[Math.floor(i / 8)] ?? 0))));
    expect(codes?.every((code) => Math.abs(code) <= 7)).toBe(true);
  });
});

const convolutional = modelBytes(invertedResiduals('float32', 16));
const pictures = Array.from({ length: 10 }, (_, i) => ({ x: asTensor(randomTensor([1, 3, 16, 16], i + 1)) }));
const rowsOf = (seed: number) => ({ x: asTensor(randomTensor([2, 64], seed)) });
const products = modelBytes({
  inputs: { x: [2, 64] }, outputs: ['y'], constants: { a: randomTensor([64, 96], 1), b: randomTensor([96, 32], 2), c: randomTensor([32], 3) },
  nodes: [node('MatMul', ['x', 'a'], ['p']), node('Relu', ['p'], ['q']), node('Gemm', ['q', 'b', 'c'], ['y'])],
});
const vectors = Array.from({ length: 40 }, (_, i) => rowsOf(i + 1));

async function run(model: Uint8Array, feeds: typeof pictures, engine: 'native' | 'onnxruntime') {
  const session = await createSession(model, { engine });
  return outputsOf(session, feeds).finally(() => session.close());
}

const missing = nativeMissing ?? oracleMissing;

describe.skipIf(missing !== undefined)(`a sparse model${missing === undefined ? '' : ` (${missing})`}`, () => {
  it('keeps more of its outputs than by magnitude, and takes fewer bytes in a package', async () => {
    const { model, report } = await sparsify(convolutional, pictures, share);
    const { report: blind } = await sparsify(convolutional, pictures, { ...share, criterion: 'magnitude' });
    expect(report.agreement ?? 0).toBeGreaterThan(blind.agreement ?? 1);
    expect(report).toMatchObject({ judged_samples: 2, bytes_after: model.length });
    expect(report.packed_after).toBeLessThan(0.9 * report.packed_before);
    for (const { zeros } of report.layers) expect(zeros).toBeCloseTo(0.5, 1);
    expect(outputCosine(await run(model, pictures, 'onnxruntime'), await run(model, pictures, 'native'))).toBeGreaterThan(1 - 1e-6);
  });

  it.each([[{ weights: 'int8' }, 'int8', 0.9999], [{ weights: 'int4', group: 32 }, 'int4', 0.98], [{ weights: 'int4', group: 32, ...pattern }, 'int4', 0.5]] as const)('with %j has integers that both engines take alike', async (settings, dtype, least) => {
    const { model, report } = await sparsify(products, vectors, settings);
    const stored = [...parseModel(model).graph.initializers.values()].filter((value) => value.dtype === dtype && value.data.length > 1000);
    expect(stored.length).toBe(2);
    expect(report.agreement).toBeGreaterThan(least);
    expect(report.packed_after).toBeLessThan((dtype === 'int8' ? 0.4 : 0.3) * report.packed_before);
    expect(outputCosine(await run(model, vectors, 'onnxruntime'), await run(model, vectors, 'native'))).toBeGreaterThan(1 - 1e-4);
  });

  it('leaves layers alone that are excluded, and refuses models without layers, and no samples', async () => {
    const [first] = parseModel(products).graph.nodes;
    expect((await sparsify(products, vectors, { ...share, exclude: [first?.name ?? ''] })).report.layers.map(({ op }) => op)).toEqual(['Gemm']);
    const relu = modelBytes({ inputs: { x: [1, 4] }, outputs: ['y'], nodes: [node('Relu', ['x'], ['y'])] });
    await expect(sparsify(relu, vectors, share)).rejects.toMatchObject({ code: 'E_QUANTIZE', message: expect.stringContaining('no convolution or matrix product') as string });
    await expect(sparsify(products, [], share)).rejects.toMatchObject({ code: 'E_QUANTIZE', message: expect.stringContaining('at least one sample') as string });
  });

  it('is written by sterna compress, alone and in minifloats', async () => {
    const folder = temporaryFolder();
    const [input, output] = [join(folder, 'in.onnx'), join(folder, 'out.onnx')];
    await writeFile(input, products);
    const plain = await captureCli(['compress', input, '-o', output, '--sparsity', '50%', '--calibrate', 'random:10']);
    expect(plain.out).toMatch(/50\.0 % of the weights of all layers are zero; in a package, .*\na run takes as long as before: no kernel leaves out zeros/);
    const both = await captureCli(['--json', 'compress', input, '-o', output, '--sparsity', '2:4', '--weights', 'minifloat8', '--calibrate', 'random:10']);
    expect(JSON.parse(both.out) as object).toMatchObject({ bits: 8, output_bytes: (await readFile(output)).length, sparsity: { zeros: 0.5 } });
  });
});

describe('sterna compress --sparsity', () => {
  it.each([
    [['--sparsity', 'half'], /Expected the share of the weights that become zero, as in 50%, or zeros among neighbours, as in 2:4, but received half/],
    [['--sparsity', '4:4'], /received 4:4/],
    [['--sparsity', '50%'], /Expected --calibrate <source>: zeros and integers are chosen by what the layers read/],
    [['--sparsity', '50%', '--group', '32', '--calibrate', 'random:5'], /Expected --weights int8 or int4 with --group/],
  ])('refuses %j', async (options, message) => {
    const folder = temporaryFolder();
    await writeFile(join(folder, 'in.onnx'), products);
    const { code, out } = await captureCli(['--json', 'compress', join(folder, 'in.onnx'), '-o', join(folder, 'out.onnx'), ...options]);
    expect([code, JSON.parse(out) as object]).toMatchObject([2, { error: { code: 'E_USAGE', message: expect.stringMatching(message) as string } }]);
  });
});
