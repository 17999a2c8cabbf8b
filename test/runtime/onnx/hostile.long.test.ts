// Models that are small as files and ask for too much: sizes that overflow, results that explode, work that grows faster than the file.
// Each is refused with a code, or compiled in bounded time and memory. What is found by chance is the business of test/fuzz.
import { describe, expect, it } from 'vitest';
import { loadProgram } from '../../../kernels/binding/index.js';
import { fromNumbers, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { compile } from '../../../runtime/lower/compile.js';
import { ModelProto, type WireGraph } from '../../../runtime/onnx/schema.js';
import type { ModelLimits, OnnxNode } from '../../../runtime/onnx/types.js';
import { floats, ints64, modelBytes, node, randomTensor, type ModelSpec } from '../support/models.js';
import { nativeMissing } from '../support/native.js';
import { codeOf } from '../../support/code-of.js';

type Attributes = Parameters<typeof node>[3];

const billion = 1_000_000_000;

/** One node over a small image and constants. */
const one = (op: string, operands: Readonly<Record<string, TensorValue>>, attributes: Attributes = {}, dims: readonly number[] = [1, 1, 4, 4]): ModelSpec => ({
  inputs: { x: dims }, constants: operands, nodes: [node(op, ['x', ...Object.keys(operands)], ['y'], attributes)], outputs: ['y'],
});

/** A node of constants alone, whose result is added to the input: what constant folding gets to see. */
const folded = (op: string, operands: Readonly<Record<string, TensorValue>>, attributes: Attributes = {}): ModelSpec => ({
  inputs: { x: [1] }, constants: operands, nodes: [node(op, Object.keys(operands), ['c'], attributes), node('Add', ['x', 'c'], ['y'])], outputs: ['y'],
});

/** `count` steps from v0 on, the last of which is the output. */
function chain(count: number, dims: readonly number[], step: (from: string, to: string, i: number) => readonly OnnxNode[], constants: Readonly<Record<string, TensorValue>> = {}): ModelSpec {
  const nodes = [node('Relu', ['x'], ['v0'])];
  for (let i = 0; i < count; i++) nodes.push(...step(`v${i}`, `v${i + 1}`, i));
  return { inputs: { x: dims }, constants, nodes, outputs: [`v${count}`] };
}

/** `count` outputs, each made of v0 on its own. */
function fan(count: number, dims: readonly number[], step: (from: string, to: string, i: number) => readonly OnnxNode[], constants: Readonly<Record<string, TensorValue>> = {}): ModelSpec {
  const outputs = Array.from({ length: count }, (_, i) => `o${i}`);
  return { inputs: { x: dims }, constants, nodes: [node('Relu', ['x'], ['v0']), ...outputs.flatMap((output, i) => step('v0', output, i))], outputs };
}

const wire = (graph: WireGraph): Uint8Array => ModelProto.encode({ irVersion: 8, opsetImport: [{ domain: '', version: 17 }], graph: { name: 'g', output: [{ name: 'y' }], ...graph } }).finish();

const repeat = (pattern: readonly number[], times: number): Uint8Array => new Uint8Array(pattern.length * times).map((_, i) => pattern[i % pattern.length] ?? 0);

/** A length-delimited protobuf field. */
function nested(field: number, body: Uint8Array): Uint8Array {
  const varint = (value: number): number[] => (value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)]);
  const head = [(field << 3) | 2, ...varint(body.length)];
  const bytes = new Uint8Array(head.length + body.length);
  bytes.set(head);
  bytes.set(body, head.length);
  return bytes;
}

const bytesOf = (made: ModelSpec | Uint8Array): Uint8Array => (made instanceof Uint8Array ? made : modelBytes(made));

const roi = floats([0]);
const nothing = (...dims: number[]): TensorValue => fromNumbers('float32', dims, []);

/** Doubles a constant `times` times. */
const doubling = (times: number): ModelSpec => ({
  inputs: { x: [1] },
  constants: { c0: floats([4], 1, 2, 3, 4) },
  nodes: [...Array.from({ length: times }, (_, i) => node('Concat', [`c${i}`, `c${i}`], [`c${i + 1}`], { axis: 0 })), node('Add', ['x', `c${times}`], ['y'])],
  outputs: ['y'],
});

const refused: readonly (readonly [string, string, () => ModelSpec | Uint8Array])[] = [
  ['ConstantOfShape of 1e9', 'E_MODEL_LIMIT', () => folded('ConstantOfShape', { s: ints64(billion) })],
  ['ConstantOfShape of 2^62', 'E_MODEL_SHAPE', () => folded('ConstantOfShape', { s: ints64(2 ** 62) })],
  ['ConstantOfShape whose product overflows 2^63', 'E_MODEL_LIMIT', () => folded('ConstantOfShape', { s: ints64(2 ** 32, 2 ** 32) })],
  ['ConstantOfShape of a negative size', 'E_MODEL_SHAPE', () => folded('ConstantOfShape', { s: ints64(-5) })],
  ['Range of 1e9', 'E_MODEL_LIMIT', () => folded('Range', { a: floats([], 0), b: floats([], billion), d: floats([], 1) })],
  ['Range of 1e60', 'E_MODEL_SHAPE', () => folded('Range', { a: floats([], 0), b: floats([], 1e30), d: floats([], 1e-30) })],
  ['Range without a step', 'E_MODEL_SHAPE', () => folded('Range', { a: floats([], 0), b: floats([], 1), d: floats([], 0) })],
  ['Tile by 1e9', 'E_MODEL_LIMIT', () => one('Tile', { r: ints64(1, 1, billion, billion) })],
  ['Expand to 1e9', 'E_MODEL_LIMIT', () => folded('Expand', { a: floats([1], 1), s: ints64(billion) })],
  ['Expand to a negative size', 'E_MODEL_SHAPE', () => folded('Expand', { a: floats([1], 1), s: ints64(-3) })],
  ['Pad by 1e9', 'E_MODEL_LIMIT', () => one('Pad', { p: ints64(0, 0, 0, 0, 0, 0, billion, billion) })],
  ['Pad to less than nothing', 'E_MODEL_SHAPE', () => one('Pad', { p: ints64(0, 0, 0, 0, 0, 0, -billion, 0) })],
  ['Pad of integers with a fraction', 'E_MODEL_OP', () => folded('Pad', { a: ints64(1), p: ints64(1, 1), v: floats([], 0.5) })],
  ['Resize by 1e6', 'E_MODEL_LIMIT', () => one('Resize', { roi, s: floats([4], 1, 1, 1e6, 1e6) })],
  ['Resize to 1e9', 'E_MODEL_LIMIT', () => one('Resize', { roi, s: floats([0]), z: ints64(1, 1, billion, 1) })],
  ['Resize to nothing', 'E_MODEL_SHAPE', () => one('Resize', { roi, s: floats([4], 1, 1, 1, 1e-30) })],
  ['MaxPool of 1e9', 'E_MODEL_SHAPE', () => one('MaxPool', {}, { kernel_shape: [billion, billion] })],
  ['MaxPool of 1e9, padded', 'E_MODEL_LIMIT', () => one('MaxPool', {}, { kernel_shape: [billion, billion], pads: [billion - 1, billion - 1, billion - 1, billion - 1] })],
  ['MaxPool of 2^62', 'E_MODEL_SHAPE', () => one('MaxPool', {}, { kernel_shape: [2 ** 62, 2 ** 62], pads: [2 ** 62, 0, 0, 0] })],
  ['Conv padded by 1e9', 'E_MODEL_LIMIT', () => one('Conv', { w: floats([1, 1, 1, 1], 1) }, { pads: [billion, billion, billion, billion] })],
  ['Conv dilated by 1e9', 'E_MODEL_LIMIT', () => one('Conv', { w: floats([1, 1, 2, 2], 1, 1, 1, 1) }, { dilations: [billion, billion], pads: [billion, billion, billion, billion] })],
  ['Conv of no channels and a kernel of 1e18', 'E_MODEL_LIMIT', () => folded('Conv', { a: nothing(1, 0, 1, 1), w: nothing(1, 0, billion, billion) }, { pads: [billion, billion, 0, 0] })],
  ['Conv of 2^53 groups', 'E_MODEL_SHAPE', () => one('Conv', { w: floats([1, 1, 1, 1], 1) }, { group: 2 ** 53 })],
  ['an axis of 2^40 beside one of 0', 'E_MODEL_LIMIT', () => folded('Gather', { a: nothing(2 ** 40, 5, 0), i: ints64(0) }, { axis: 1 })],
  ['Gather that is out of range', 'E_MODEL_SHAPE', () => folded('Gather', { a: floats([2], 1, 2), i: ints64(billion) })],
  ['Gather that multiplies', 'E_MODEL_LIMIT', () => one('Gather', { i: ints64(...new Array<number>(1000).fill(0)) }, { axis: 0 }, [1, 1000, 1000])],
  ['an input of 2^62 elements', 'E_MODEL_LIMIT', () => one('Relu', {}, {}, [2 ** 31, 2 ** 31])],
  ['an input of 2^159 elements', 'E_MODEL_LIMIT', () => one('Relu', {}, {}, [2 ** 53 - 1, 2 ** 53 - 1, 2 ** 53 - 1])],
  ['pads of 2^31 numbers that are known in a run only', 'E_MODEL_LIMIT', () => ({ inputs: { x: [2, 30], p: [2 ** 31, 1] }, nodes: [node('Pad', ['x', 'p'], ['y'])], outputs: ['y'] })],
  ['MatMul of two long vectors', 'E_MODEL_LIMIT', () => ({ inputs: { a: [2 ** 20, 1], b: [1, 2 ** 20] }, nodes: [node('MatMul', ['a', 'b'], ['y'])], outputs: ['y'] })],
  ['Unsqueeze to rank 1000', 'E_MODEL_LIMIT', () => one('Unsqueeze', { a: ints64(...Array.from({ length: 1000 }, (_, i) => i)) })],
  ['Reshape to rank 1000', 'E_MODEL_LIMIT', () => one('Reshape', { s: ints64(16, ...new Array<number>(1000).fill(1)) })],
  ['a shape of 5000 numbers', 'E_MODEL_LIMIT', () => one('Expand', { s: ints64(...new Array<number>(5000).fill(1)) })],
  ['a window of 1e12 samples', 'E_MODEL_SHAPE', () => folded('HannWindow', { n: ints64(1e12) })],
  ['a transform of 2^30 samples', 'E_MODEL_LIMIT', () => ({ ...one('DFT', { n: fromNumbers('int64', [], [2 ** 30]) }, { axis: 2 }, [1, 4, 4, 1]), opset: 17 })],
  ['frames without a step', 'E_MODEL_SHAPE', () => one('STFT', { s: fromNumbers('int64', [], [0]) }, {}, [1, 64, 1])],
  ['1e9 mel bands', 'E_MODEL_SHAPE', () => folded('MelWeightMatrix', { n: ints64(billion), l: ints64(512), r: ints64(16000), low: floats([], 0), high: floats([], 8000) })],
  ['determinants of large matrices', 'E_MODEL_LIMIT', () => one('Det', {}, {}, [1, 1, 4096, 4096])],
  ['n-grams in column 2^40', 'E_MODEL_LIMIT', () => ({ ...one('TfIdfVectorizer', {}, { mode: 'TF', min_gram_length: 1, max_gram_length: 1, max_skip_count: 0, ngram_counts: [0], ngram_indexes: [2 ** 40], pool_int64s: [1] }, [4]), types: { x: 'int64' } })],
  ['EyeLike of 2^28', 'E_MODEL_LIMIT', () => one('EyeLike', {}, {}, [2 ** 14, 2 ** 14])],
  ['OneHot of 1e9', 'E_MODEL_LIMIT', () => ({ ...one('OneHot', { d: ints64(billion), v: floats([2], 0, 1) }), types: { x: 'int64' } })],
  ['Split into 1e9 parts', 'E_MODEL_SHAPE', () => ({ ...one('Split', {}, { num_outputs: billion }, [4]), opset: 18 })],
  ['NaN as a size', 'E_MODEL_SHAPE', () => ({ inputs: { x: [1] }, constants: { a: floats([1], -1) }, nodes: [node('Sqrt', ['a'], ['b']), node('Cast', ['b'], ['c'], { to: 7 }), node('Tile', ['x', 'c'], ['y']), node('Softmax', ['y'], ['z'])], outputs: ['z'] })],
  ['a size beyond 2^53', 'E_MODEL_SHAPE', () => ({ inputs: { x: [1] }, constants: { a: ints64(10), e: ints64(18) }, nodes: [node('Pow', ['a', 'e'], ['b']), node('Reshape', ['x', 'b'], ['y'])], outputs: ['y'] })],
  ['constants that double thirty times', 'E_MODEL_LIMIT', () => doubling(30)],
  ['values that double thirty times', 'E_MODEL_LIMIT', () => chain(30, [4], (from, to) => [node('Concat', [from, from], [to], { axis: 0 })])],
  ['30 000 nodes', 'E_MODEL_LIMIT', () => wire({ node: new Array<object>(30_000).fill({ opType: 'Relu', input: ['x'], output: ['y'] }) })],
  ['60 000 initializers', 'E_MODEL_LIMIT', () => wire({ initializer: new Array<object>(60_000).fill({ name: 'x', dataType: 1 }) })],
  ['120 000 inputs', 'E_MODEL_LIMIT', () => wire({ input: new Array<object>(120_000).fill({ name: 'x' }) })],
  // GraphProto.node is field 1 of ModelProto.graph, field 7: an empty node takes two bytes.
  ['five million nodes of two bytes', 'E_MODEL_LIMIT', () => nested(7, repeat([0x0a, 0x00], 5_000_000))],
  // TensorProto.int64_data is field 7, packed; TensorProto is GraphProto.initializer, field 5.
  ['five million integers of one byte', 'E_MODEL_LIMIT', () => nested(7, nested(5, nested(7, new Uint8Array(5_000_000))))],
  ['an attribute of five million integers', 'E_MODEL_LIMIT', () => nested(7, nested(1, nested(5, repeat([0x40, 0x01], 5_000_000))))],
  ['data in another file', 'E_MODEL_OP', () => wire({ initializer: [{ name: 'w', dims: [1], dataType: 1, externalData: [{ key: 'location', value: '../../etc/passwd' }] }] })],
];

const compiled: readonly (readonly [string, () => ModelSpec])[] = [
  ['ConstantOfShape at the limit, which is not folded', () => folded('ConstantOfShape', { s: ints64(2 ** 28) })],
  ['a constant under a padded kernel of 1e18', () => folded('AveragePool', { a: floats([1, 1, 1, 1], 1) }, { kernel_shape: [billion, billion], pads: [billion - 1, billion - 1, 0, 0] })],
  ['constants that double up to what folding may hold', () => doubling(24)],
  ['values that double twenty times', () => chain(20, [4], (from, to) => [node('Concat', [from, from], [to], { axis: 0 })])],
  ['a long chain', () => chain(2000, [4], (from, to) => [node('Sigmoid', [from], [to])])],
  ['a value that is its own double', () => chain(2000, [4], (from, to) => [node('Add', [from, from], [to])])],
  ['transposes in a chain', () => chain(700, [1, 2, 3, 4], (from, to, i) => [node('Transpose', [from], [`t${i}`], { perm: [0, 2, 3, 1] }), node('Sigmoid', [`t${i}`], [to])])],
  ['residual blocks in a chain', () => chain(100, [1, 1, 4, 4], (from, to, i) => [node('Conv', [from, 'w'], [`c${i}`]), node('Relu', [`c${i}`], [`r${i}`]), node('Add', [`r${i}`, from], [to])], { w: floats([1, 1, 1, 1], 1) })],
  ['a concatenation that grows by one', () => chain(1000, [1], (from, to) => [node('Concat', [from, 'x'], [to], { axis: 0 })])],
  ['slices of slices', () => chain(1500, [5000], (from, to) => [node('Slice', [from, 's', 'e'], [to])], { s: ints64(1), e: ints64(2 ** 62) })],
  ['many outputs of one value', () => fan(2000, [4], (from, to) => [node('Sigmoid', [from], [to])])],
  ['many views of one value', () => fan(1000, [1, 20], (from, to, i) => [node('Reshape', [from, 's'], [`w${i}`]), node('Sigmoid', [`w${i}`], [to])], { s: ints64(2, 10) })],
  ['many identities of one value', () => fan(2000, [4], (from, to, i) => [node('Identity', [from], [`i${i}`]), node('Sigmoid', [`i${i}`], [to])])],
  ['a transposed value with many readers', () => fan(1500, [1, 2, 3, 4], (from, to, i) => [...(i === 0 ? [node('Transpose', [from], ['t'], { perm: [0, 2, 3, 1] })] : []), node('Sigmoid', ['t'], [to])])],
  ['sums of a thousand operands', () => chain(4, [4], (from, to) => [node('Sum', new Array<string>(1000).fill(from), [to])])],
  ['concatenations of a thousand parts', () => fan(4, [1, 4], (from, to) => [node('Concat', new Array<string>(1024).fill(from), [to], { axis: 1 })])],
];

/** Far above what any of them takes on a slow machine, far below what a bomb takes. */
const maximumCpuSeconds = 60;
const maximumGrowthMb = 1024;

async function bounded(action: () => void): Promise<void> {
  const before = process.cpuUsage();
  const rss = process.resourceUsage().maxRSS;
  action();
  const { user, system } = process.cpuUsage(before);
  expect((user + system) / 1e6).toBeLessThan(maximumCpuSeconds);
  expect((process.resourceUsage().maxRSS - rss) / 1024).toBeLessThan(maximumGrowthMb);
  await new Promise(setImmediate); // lets the reporter speak between two tests that never wait
}

describe('a hostile model', () => {
  it.each(refused)('with %s is refused: %s', async (_, code, make) => {
    const bytes = bytesOf(make());
    await bounded(() => expect(codeOf(() => compile(bytes))).toBe(code));
  }, 120_000);

  it.each(compiled)('with %s compiles in bounded time and memory', async (_, make) => {
    const bytes = bytesOf(make());
    await bounded(() => expect(codeOf(() => compile(bytes))).toBeNull());
  }, 120_000);

  it.skipIf(nativeMissing !== undefined)(`that needs 100 GB is refused before they are allocated${nativeMissing === undefined ? '' : ` (skipped: ${nativeMissing})`}`, async () => {
    const { bytes } = compile(modelBytes(fan(100, [2 ** 28], (from, to) => [node('Sigmoid', [from], [to])])));
    await bounded(() => expect(codeOf(() => loadProgram(bytes))).toBe('E_PROGRAM_LIMIT'));
  });

  // Found by test/fuzz.
  it.each([
    ['a string without bytes', wire({ input: [{ name: 'x', type: { tensorType: { elemType: 1, shape: { dim: [{ dimValue: 4 }] } } } }], node: [{ opType: 'Relu', input: ['x'], output: ['y'], attribute: [{ name: 'mode', type: 3 }] }] })],
    ['int64 in an attribute that is not read', modelBytes({
      ...one('Transpose', {}, { perm: [0, 1, 3, 2], axes: { type: 'tensor', value: ints64(1) } }), outputs: ['z'],
      nodes: [...one('Transpose', {}, { perm: [0, 1, 3, 2], axes: { type: 'tensor', value: ints64(1) } }).nodes, node('Sigmoid', ['y'], ['z'])],
    })],
  ])('with %s is refused: no operator has the attribute', (_, bytes) => {
    expect(codeOf(() => compile(bytes))).toBe('E_MODEL_MALFORMED');
  });

  it('whose layers share weights may not multiply them', () => {
    const bytes = modelBytes(fan(100, [1, 64, 2, 2], (from, to) => [node('Conv', [from, 'w'], [to])], { w: randomTensor([64, 64, 1, 1], 1) }));
    expect(codeOf(() => compile(bytes))).toBeNull();
    expect(codeOf(() => compile(bytes, { limits: { constantElements: 2 ** 18 } }))).toBe('E_MODEL_LIMIT');
  });

  it('is measured with the limits that it is given', () => {
    const bytes = modelBytes(one('Tile', { r: ints64(1, 1, 8, 8) }));
    expect(codeOf(() => compile(bytes))).toBeNull();
    expect(codeOf(() => compile(bytes, { limits: { tensorElements: 1023 } }))).toBe('E_MODEL_LIMIT');
    expect(codeOf(() => compile(bytes, { limits: { rank: 3 } }))).toBe('E_MODEL_LIMIT');
    // What may not be folded is left to the engine.
    const opsOf = (limits: Partial<ModelLimits>) => compile(modelBytes(doubling(10)), { limits }).opNames.length;
    expect(opsOf({})).toBe(1);
    expect(opsOf({ constantElements: 2000 })).toBeGreaterThan(1);
    expect(opsOf({ foldSteps: 50 })).toBeGreaterThan(1);
  });
});
