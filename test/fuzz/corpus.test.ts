// The seeds of both fuzzers are made by us: `STERNA_UPDATE_CORPUS=1 npx vitest run test/fuzz/corpus.test.ts` writes them anew, always the same.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadProgram } from '../../kernels/binding/index.js';
import { compile } from '../../runtime/lower/compile.js';
import { opCodes } from '../../runtime/lower/program-format.js';
import { parseModel } from '../../runtime/onnx/parse.js';
import { f, geometry, ProgramWriter } from '../kernels/support/program-writer.js';
import { cases } from '../runtime/ops/cases.js';
import { examples } from '../runtime/engines/in-parts-cases.js';
import { contribAttentionCases } from '../runtime/ops/contrib-attention-cases.js';
import { contribOtherCases } from '../runtime/ops/contrib-other-cases.js';
import { expansionCases } from '../runtime/ops/expansion-cases.js';
import { integerCases, layerCases } from '../runtime/ops/layer-cases.js';
import { quantizedCases } from '../runtime/ops/quantized-cases.js';
import { wholeCases } from '../runtime/ops/whole-cases.js';
import { modelBytes, node, randomTensor } from '../runtime/support/models.js';
import { nativeMissing } from '../runtime/support/native.js';

const programs = fileURLToPath(new URL('corpus/programs', import.meta.url));
const models = fileURLToPath(new URL('corpus/onnx', import.meta.url));
/** Models that are no single program. */
const parts = fileURLToPath(new URL('corpus/parts', import.meta.url));
const update = process.env['STERNA_UPDATE_CORPUS'] === '1';
const remedy = 'write it with STERNA_UPDATE_CORPUS=1 npx vitest run test/fuzz/corpus.test.ts, from cases that use it';

const plainCases = [...cases, ...layerCases, ...wholeCases];
const expandedCases = [...expansionCases, ...contribAttentionCases, ...contribOtherCases];
const allCases = [...plainCases, ...integerCases, ...quantizedCases];

type Seeds = Map<string, Uint8Array>;

/** Of all that carry a name, the smallest stays. */
function offer(seeds: Seeds, name: string, bytes: Uint8Array): void {
  const known = seeds.get(name);
  if (known === undefined || bytes.length < known.length) seeds.set(name, bytes);
}

/** The opcodes of a well-formed program (kernels/include/sterna/program.h). */
function opcodesOf(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [tensors, ops] = [view.getUint32(12, true), view.getUint32(16, true)];
  const found: number[] = [];
  let at = Math.ceil((64 + 48 * tensors) / 64) * 64;
  for (let i = 0; i < ops; i++) {
    const [opcode, inputs, outputs, attributes] = [0, 2, 4, 6].map((field) => view.getUint16(at + field, true));
    found.push(opcode ?? 0);
    at += 8 + 4 * ((inputs ?? 0) + (outputs ?? 0)) + (attributes ?? 0);
  }
  return found;
}

/** Floats to ternary codes and through a convolution of theirs: the ops of networks that were trained on codes. */
function ternaryProgram(activation: 'u8' | 's8'): Uint8Array {
  const p = new ProgramWriter(activation);
  const [zp, codes, y] = [activation === 'u8' ? 128 : 0, p.tensor(activation, [1, 4, 4, 8], 16), p.output('f32', [1, 4, 4, 3])];
  const weights = Int8Array.from({ length: 3 * 9 * 8 }, (_, i) => (i % 3) - 1);
  p.op('threshold', [p.input('f32', [1, 4, 4, 8]), p.constant(Float32Array.of(-0.25)), p.constant(Float32Array.of(0.25))], codes, [zp]);
  p.op('convQ8F32', [codes, p.constant(weights, [3, 3, 3, 8]), p.constant(Float32Array.of(0.5, 1, 2)), p.constant(Float32Array.of(1, 2, 3))], y, [...geometry({ pads: [1, 1, 1, 1] }), zp]);
  return p.build();
}

/** An inverted residual in a strip: its two wide maps are nowhere as a whole. */
function stripProgram(activation: 'u8' | 's8'): Uint8Array {
  const p = new ProgramWriter(activation);
  const [zp, lo] = activation === 'u8' ? [128, 0] : [0, -128];
  const [x, wide, filtered, y] = [p.input(activation, [1, 6, 5, 4], 16), p.strip(activation, [1, 6, 5, 8], 16), p.strip(activation, [1, 6, 5, 8], 16), p.output(activation, [1, 6, 5, 4], 16)];
  const conv = (from: number, to: number, weights: number[], group: number, residual?: number) => {
    const [channels = 1, side = 1] = weights;
    const count = weights.reduce((product, size) => product * size, 1);
    const pad = (side - 1) / 2;
    const operands = [p.constant(Int8Array.from({ length: count }, (_, i) => (i % 9) - 4), weights), undefined, p.constant(new Float32Array(channels).fill(0.1)), undefined, undefined, residual];
    p.op('convQ8', [from, ...operands], to, [...geometry({ pads: [pad, pad, pad, pad], group }), zp, zp, lo, lo + 255, zp, zp, lo, lo + 255, f(0.5), f(0.5)]);
  };
  conv(x, wide, [8, 1, 1, 4], 1);
  conv(wide, filtered, [8, 3, 3, 1], 8);
  conv(filtered, y, [4, 1, 1, 8], 1, x);
  return p.build();
}

/** Scores of queries and keys, shared out over the values. */
const attention = {
  inputs: { q: [1, 2, 3, 4], k: [1, 2, 4, 5], v: [1, 2, 5, 2] }, outputs: ['y'],
  nodes: [node('MatMul', ['q', 'k'], ['scores']), node('Softmax', ['scores'], ['shares'], { axis: -1 }), node('MatMul', ['shares', 'v'], ['y'])],
};

/** A row of each token, with a factor and a summand. */
const normalization = {
  inputs: { x: [3, 8] }, constants: { s: randomTensor([8], 1), t: randomTensor([8], 2) }, outputs: ['y'], opset: 17,
  nodes: [node('LayerNormalization', ['x', 's', 't'], ['y'])],
};

/** A picture into floats: the one op that no other case compiles to. */
const picture = {
  inputs: { x: [1, 3, 6, 6] }, nodes: [node('Relu', ['x'], ['y'])], outputs: ['y'],
};

function programSeeds(): Seeds {
  const seeds: Seeds = new Map();
  const names = new Map(Object.entries(opCodes).map(([name, code]): [number, string] => [code, name]));
  const add = (bytes: Uint8Array, activation: string) => {
    for (const opcode of opcodesOf(bytes)) offer(seeds, `${names.get(opcode)}-${activation}.bin`, bytes);
  };
  for (const activation of ['uint8', 'int8'] as const) {
    const short = activation === 'uint8' ? 'u8' : 's8';
    add(ternaryProgram(short), activation);
    seeds.set(`strips-${activation}.bin`, stripProgram(short));
    for (const spec of [attention, normalization]) add(compile(modelBytes(spec), { activation }).bytes, activation);
    for (const { spec } of allCases) add(compile(modelBytes(spec), { activation }).bytes, activation);
    add(compile(modelBytes(picture), { activation, pixels: { x: { mean: [127, 127, 127], std: [128, 128, 128] } } }).bytes, activation);
  }
  return seeds;
}

function modelSeeds(): Seeds {
  const seeds: Seeds = new Map();
  for (const { spec } of plainCases) for (const { op } of spec.nodes) offer(seeds, `${op}.onnx`, modelBytes(spec));
  for (const { spec } of expandedCases) for (const { op } of spec.nodes) offer(seeds, `expanded-${op}.onnx`, modelBytes(spec));
  for (const { spec, op } of quantizedCases) offer(seeds, `quantized-${op}.onnx`, modelBytes(spec));
  return seeds;
}

function write(folder: string, seeds: Seeds): void {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const [name, bytes] of seeds) writeFileSync(join(folder, name), bytes);
}

const committed = (folder: string): [string, Uint8Array][] => readdirSync(folder).sort().map((name) => [name, new Uint8Array(readFileSync(join(folder, name)))]);

describe('the corpus of the fuzzers', () => {
  beforeAll(() => {
    if (!update) return;
    write(programs, programSeeds());
    write(models, modelSeeds());
    write(parts, new Map(examples.map(({ name, spec }) => [`${name.replace(/[^A-Za-z0-9]+/g, '-')}.onnx`, modelBytes(spec)])));
  }, 300_000);

  it('has a program for every opcode', () => {
    const seen = new Set(committed(programs).flatMap(([, bytes]) => opcodesOf(bytes)));
    const missing = Object.entries(opCodes).filter(([, code]) => !seen.has(code)).map(([name]) => name);
    expect(missing, remedy).toEqual([]);
  });

  it('has strips', () => {
    expect(committed(programs).map(([name]) => name), remedy).toEqual(expect.arrayContaining(['strips-int8.bin', 'strips-uint8.bin']));
  });

  it.skipIf(nativeMissing !== undefined)(`has programs that load${nativeMissing === undefined ? '' : ` (skipped: ${nativeMissing})`}`, async () => {
    for (const [name, bytes] of committed(programs)) {
      expect(() => loadProgram(bytes), `${name}: ${remedy}`).not.toThrow();
      await loadProgram(bytes).close();
    }
  });

  it('has every model that is no single program', () => {
    expect(committed(parts).length, remedy).toBe(examples.length);
  });

  it('has a model for every operator of the cases, and all of them compile', () => {
    const seen = new Set<string>();
    for (const [name, bytes] of committed(models)) {
      for (const { op } of parseModel(bytes).graph.nodes) seen.add(op);
      expect(() => compile(bytes), name).not.toThrow();
    }
    expect([...new Set([...plainCases, ...expandedCases].flatMap(({ spec }) => spec.nodes.map(({ op }) => op)))].filter((op) => !seen.has(op)), remedy).toEqual([]);
  });
});
