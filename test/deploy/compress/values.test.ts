/** `--value`: inputs that always have the same numbers become constants. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fixValues } from '../../../deploy/compress/values.js';
import { fromNumbers, type DType } from '../../../runtime/graph/tensor-value.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { createSession } from '../../../runtime/session.js';
import { modelBytes, node, randomTensor } from '../../runtime/support/models.js';
import { captureCli } from '../cli/capture.js';

const scaled = (dims: readonly (number | string | undefined)[], type: DType = 'float32'): Uint8Array => modelBytes({
  inputs: { x: [2], factor: dims }, types: { factor: type }, nodes: [node('Cast', ['factor'], ['f'], { to: 1 }), node('Mul', ['x', 'f'], ['y'])], outputs: ['y'], outputTypes: { y: 'float32' },
});

async function times(model: Uint8Array): Promise<number[]> {
  const session = await createSession(model, { engine: 'native' });
  const { y } = await session.run({ x: { type: 'float32', dims: [2], data: Float32Array.of(1, 10) } });
  await session.close();
  return [...(y?.data as Float32Array)];
}

describe('fixValues', () => {
  it.each([
    ['a scalar', [], [3], [3, 30]],
    ['one number for all elements', [2], [3], [3, 30]],
    ['a number for each', [2], [3, 4], [3, 40]],
    ['an open vector', ['n'], [3, 4], [3, 40]],
    ['an open batch', ['n', 2], [3, 4], [3, 40]],
  ] as const)('%s', async (_, dims, values, expected) => {
    for (const type of ['float32', 'int64', 'uint8'] as const) {
      const model = fixValues(scaled(dims, type), { factor: values });
      expect(parseModel(model).graph.inputs.map(({ name }) => name)).toEqual(['x']);
      expect(await times(model)).toEqual(expected);
    }
  });

  it('replaces a default that the file gives an input', async () => {
    const model = modelBytes({ inputs: { x: [2], f: [] }, constants: { f: fromNumbers('float32', [], [2]) }, nodes: [node('Mul', ['x', 'f'], ['y'])], outputs: ['y'] });
    expect(await times(fixValues(model, { f: [5] }))).toEqual([5, 50]);
  });

  it.each([
    ['an input that is none', [], 'float32', { sr: [1] }, "Expected the name of an input for the value but received 'sr'; the model has x, factor"],
    ['another number of numbers', [2], 'float32', { factor: [1, 2, 3] }, "Expected one number, or 2, for input 'factor' [2] but received 3"],
    ['several for a scalar', [], 'float32', { factor: [1, 2] }, "Expected one number for input 'factor' [] but received 2"],
    ['a fraction', [], 'int64', { factor: [1.5] }, "Expected whole numbers for input 'factor' but received 1.5"],
    ['what the type does not hold', [], 'uint8', { factor: [256] }, "Expected numbers that input 'factor' can hold but received 256"],
    ['a boolean that is none', [], 'bool', { factor: [2] }, "Expected numbers that input 'factor' can hold but received 2"],
  ] as const)('refuses %s', (_, dims, type, values, message) => {
    expect(() => fixValues(scaled(dims, type), values)).toThrow(expect.objectContaining({ code: 'E_OPTION', message }) as Error);
  });
});

describe('the commands take --value', () => {
  let folder = '';
  const at = (name: string): string => join(folder, name);
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sterna-values-'));
    const layer = (weights: string, y: string) => ({ type: 'graph' as const, value: { name: y, nodes: [node('MatMul', ['x', weights], [y])], initializers: new Map(), inputs: [], outputs: [{ name: y, dtype: 'float32' as const }], valueInfo: [] } });
    // As Silero VAD: the rate decides which of two networks runs, and any other rate than these is an error of the run.
    await writeFile(at('rates.onnx'), modelBytes({
      inputs: { x: [1, 8], sr: [] }, types: { sr: 'int64' }, constants: { sixteen: fromNumbers('int64', [], [16_000]), a: randomTensor([8, 4], 1), b: randomTensor([8, 4], 2) },
      nodes: [node('Equal', ['sr', 'sixteen'], ['c']), node('If', ['c'], ['y'], { then_branch: layer('a', 'p'), else_branch: layer('b', 'q') })], outputs: ['y'], outputTypes: { y: 'float32' },
    }));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));
  const value = ['--value', 'sr=16000'];

  it('bench: nothing is compiled again, and it loads from the cache', async () => {
    const { code, out } = await captureCli(['bench', at('rates.onnx'), '--engine', 'native', '--runs', '20', '--json', ...value]);
    const { engines: { native } } = JSON.parse(out) as { engines: { native: Record<string, number> } };
    expect([code, native?.['recompilations']]).toEqual([0, 0]);
    expect(native?.['load_cached_ms']).toBeGreaterThan(0);
  });

  it('inspect shows the branch that runs', async () => {
    const { out } = await captureCli(['inspect', at('rates.onnx'), '--json', ...value]);
    expect(JSON.parse(out)).toMatchObject({ inputs: [{ name: 'x' }], macs: 32, recompiled_for: [] });
  });

  it('compress writes a model of one input, and compare feeds both', async () => {
    expect((await captureCli(['compress', at('rates.onnx'), '-o', at('out.onnx'), '--calibrate', 'random:32', '--engine', 'native', ...value])).code).toBe(0);
    const { graph } = parseModel(await readFile(at('out.onnx')));
    expect(graph.inputs.map(({ name }) => name)).toEqual(['x']);
    expect(graph.nodes.some(({ op }) => op === 'If')).toBe(false);
    const { code, out } = await captureCli(['compare', at('out.onnx'), '--reference', at('rates.onnx'), '--against', 'native', '--min-cosine', '0.97', ...value]);
    expect([code, out]).toEqual([0, expect.stringContaining('8 cases')]);
  });

  it('refuses what is no number, with what it expects', async () => {
    const { code, err } = await captureCli(['bench', at('rates.onnx'), '--value', 'sr=fast']);
    expect([code, err]).toEqual([2, expect.stringContaining('Expected NAME=16000, or numbers separated by commas, but received sr=fast')]);
  });
});
