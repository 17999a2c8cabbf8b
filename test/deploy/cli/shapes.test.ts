import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { createSession } from '../../../runtime/session.js';
import { modelBytes, node, randomTensor } from '../../runtime/support/models.js';
import { oracleMissing } from '../../runtime/support/oracle.js';
import { captureCli } from './capture.js';

let folder = '';
const at = (name: string): string => join(folder, name);
const network = (dims: readonly (number | string | undefined)[]): Uint8Array => modelBytes({
  inputs: { image: dims }, constants: { w: randomTensor([8, 3, 3, 3], 1) }, nodes: [node('Conv', ['image', 'w'], ['y'], { pads: [1, 1, 1, 1] })], outputs: ['y'],
});
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sterna-shapes-'));
  await writeFile(at('named.onnx'), network(['N', 3, 'height', 'width']));
  await writeFile(at('unnamed.onnx'), network([undefined, 3, undefined, undefined]));
  await writeFile(at('batch.onnx'), network(['N', 3, 8, 8]));
  await writeFile(at('far.onnx'), modelBytes({
    inputs: { image: ['N', 3, 'height', 'width'] }, constants: { w: randomTensor([8, 3, 3, 3], 2) }, nodes: [node('Conv', ['image', 'w'], ['y'], { pads: [1, 1, 1, 1] })], outputs: ['y'],
  }));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const compress = (model: string): string[] => ['compress', at(model), '-o', at('out.onnx'), '--calibrate', 'random:4', '--engine', 'native'];
const commands: readonly (readonly [string, (model: string) => string[]])[] = [
  ['inspect', (model) => ['inspect', at(model)]],
  ['compress', compress],
  ['bench', (model) => ['bench', at(model), '--engine', 'native', '--runs', '1']],
  ['compare', (model) => ['compare', at(model), '--against', 'native', '--inputs', 'random:1']],
];

describe.each(commands)('sterna %s and open dimensions', (_, argv) => {
  it('asks for what nobody gave, with an example for this model', async () => {
    const named = await captureCli([...argv('named.onnx'), '--json']);
    expect(named.code).toBe(2);
    expect(JSON.parse(named.out)).toMatchObject({ error: { code: 'E_OPTION', message: "The model leaves dimensions of input 'image' [N, 3, height, width] open; set them, for example with --shape image=1x3x320x320, or --symbol height=320 --symbol width=320" } });
    const unnamed = await captureCli(argv('unnamed.onnx'));
    expect([unnamed.code, unnamed.err]).toEqual([2, "sterna: E_OPTION: The model leaves dimensions of input 'image' [?, 3, ?, ?] open; set them, for example with --shape image=1x3x320x320\n"]);
  });

  it.each([
    ['--symbol', ['--symbol', 'height=12', '--symbol', 'width=16'], 'named.onnx', "input 'image' [N, 3, height, width] is taken as 1x3x12x16, with a batch of 1"],
    ['--shape', ['--shape', 'image=1x3x12x16'], 'unnamed.onnx', "input 'image' [?, 3, ?, ?] is taken as 1x3x12x16"],
    ['a batch', [], 'batch.onnx', "input 'image' [N, 3, 8, 8] is taken as 1x3x8x8, with a batch of 1"],
  ])('takes %s, and says what it took', async (_name, options, model, note) => {
    const { code, err } = await captureCli([...argv(model), ...options]);
    expect(code).toBe(0);
    expect(err).toContain(`sterna: ${note}\n`);
  });

  it.each([
    ['a shape that does not fit', ['--shape', 'image=1x4x12x16'], "Expected a shape that fits [N, 3, height, width] for input 'image' but received [1, 4, 12, 16]"],
    ['an input that is none', ['--shape', 'picture=1x3x12x16'], "Expected the name of an input for the shape but received 'picture'; the model has image"],
    ['a symbol that is none', ['--symbol', 'heigth=12'], "The model has no open dimension 'heigth'; it has N, height, width"],
    ['two values for one symbol', ['--shape', 'image=1x3x12x16', '--symbol', 'height=13'], "Dimension 'height' is 13 by one option and 12 by the shape of 'image'"],
  ])('refuses %s', async (_name, options, message) => {
    const { code, err } = await captureCli([...argv('named.onnx'), ...options]);
    expect([code, err]).toEqual([2, `sterna: E_OPTION: ${message}\n`]);
  });
});

describe('sterna compress of a model with open dimensions', () => {
  it('writes the chosen shape', async () => {
    expect((await captureCli([...compress('unnamed.onnx'), '--shape', 'image=1x3x12x16'])).code).toBe(0);
    expect(parseModel(await readFile(at('out.onnx'))).graph.inputs[0]?.dims).toEqual([1, 3, 12, 16]);
  });

  it('takes the size from the arrays that it is calibrated with', async () => {
    const header = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 6, 10), }".padEnd(117) + '\n';
    const data = Float32Array.from({ length: 180 }, (_, i) => Math.sin(i));
    await writeFile(at('a.npy'), Buffer.concat([Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, 118, 0]), Buffer.from(header), Buffer.from(data.buffer)]));
    const { code, err } = await captureCli(['compress', at('named.onnx'), '-o', at('out.onnx'), '--calibrate', at('a.npy'), '--engine', 'native']);
    expect(code).toBe(0);
    expect(err).toContain("sterna: input 'image' [N, 3, height, width] is taken as 1x3x6x10, the shape of the calibration data\n");
    expect(parseModel(await readFile(at('out.onnx'))).graph.inputs[0]?.dims).toEqual([1, 3, 6, 10]);
  });
});

describe('createSession of a model with open dimensions', () => {
  it.each(oracleMissing === undefined ? (['native', 'onnxruntime'] as const) : (['native'] as const))('takes shapes and symbols in %s', async (engine) => {
    const open = async (name: string, options: object): Promise<readonly number[] | undefined> => {
      const session = await createSession(at(name), { engine, ...options });
      await session.close();
      return session.inputs[0]?.dims;
    };
    expect(await open('unnamed.onnx', { shapes: { image: [2, 3, 5, 7] } })).toEqual([2, 3, 5, 7]);
    expect(await open('named.onnx', { symbols: { height: 5, width: 7 } })).toEqual([1, 3, 5, 7]);
    await expect(open('named.onnx', { shapes: { image: [1, 4, 5, 7] } })).rejects.toMatchObject({ code: 'E_OPTION' });
  });
});

describe('a verdict of no', () => {
  const size = ['--symbol', 'height=8', '--symbol', 'width=8'];

  it('of compare: exit code 1, with what is beyond the limit', async () => {
    const argv = ['compare', at('far.onnx'), '--reference', at('named.onnx'), '--against', 'native', '--inputs', 'random:2', ...size];
    expect((await captureCli(argv)).code).toBe(0);
    const { code, out } = await captureCli([...argv, '--min-cosine', '0.99']);
    expect(code).toBe(1);
    expect(out).toMatch(/FAILED: the cosine of output y is -?0\.\d+, below 0\.99/);
    const json = await captureCli([...argv, '--min-cosine', '0.99', '--json']);
    expect([json.code, JSON.parse(json.out)]).toMatchObject([1, { passed: false, failures: [expect.stringContaining('cosine')] }]);
  });

  it('of compress: exit code 1 when no layer can be int8 within --max-drop', async () => {
    const { code, out } = await captureCli([...compress('named.onnx'), ...size, '--max-drop', '0.000000001']);
    expect(code).toBe(1);
    expect(out).toMatch(/FAILED: no layer can be int8 within --max-drop 1e-9/);
    expect((await captureCli([...compress('named.onnx'), ...size, '--max-drop', '0.5'])).code).toBe(0);
  });
});

describe('sterna bench of a model that is compiled for what it is fed', () => {
  it('has no time of a cached load, and feeds other data in each run', async () => {
    await writeFile(at('fed.onnx'), modelBytes({ inputs: { x: [1, 4], low: [] }, nodes: [node('Clip', ['x', 'low'], ['y'])], outputs: ['y'], outputTypes: { y: 'float32' } }));
    const { code, out } = await captureCli(['bench', at('fed.onnx'), '--engine', 'native', '--runs', '2', '--json']);
    expect(code).toBe(0);
    const { native } = (JSON.parse(out) as { engines: Record<string, Record<string, number | null>> }).engines;
    expect(native?.['load_cached_ms'] === null || (native?.['load_cached_ms'] ?? 0) > 0).toBe(true);
    expect((await captureCli(['bench', at('fed.onnx'), '--engine', 'native', '--runs', '2'])).out).not.toContain('NaN');
  });
});
