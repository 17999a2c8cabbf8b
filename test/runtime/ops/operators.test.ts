import { describe, expect, it } from 'vitest';
import { loadProgram } from '../../../kernels/binding/index.js';
import { openNative } from '../../../runtime/engines/native.js';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import type { Graph } from '../../../runtime/graph/graph.js';
import { elementCount } from '../../../runtime/graph/tensor-value.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import { interpret } from '../../../runtime/infer/interpret.js';
import { compile } from '../../../runtime/lower/compile.js';
import { flipBytes } from '../../../runtime/lower/flip-bytes.js';
import { optimize } from '../../../runtime/optimize/optimize.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { arrayTypes } from '../../../runtime/engines/feeds.js';
import { asTensor } from '../../../runtime/tensor.js';
import { floats, modelBytes } from '../support/models.js';
import { nativeMissing } from '../support/native.js';
import { difference, oracle, oracleMissing } from '../support/oracle.js';
import { cases as plainCases, type Case } from './cases.js';
import { contribAttentionCases, dynamicLstm } from './contrib-attention-cases.js';
import { contribOtherCases } from './contrib-other-cases.js';
import { computedCases } from './computed-cases.js';
import { expansionCases } from './expansion-cases.js';
import { int4Cases, integerCases, layerCases } from './layer-cases.js';
import { roundingCases } from './rounding-cases.js';
import { wholeCases } from './whole-cases.js';

const cases: readonly Case[] = [...plainCases, ...layerCases, ...wholeCases, ...roundingCases, ...expansionCases, ...computedCases, ...contribAttentionCases, ...contribOtherCases];

/** Single precision sums differ by their order; values here are of order 1 and sums short. */
const tolerance = 1e-5;

type Outputs = Record<string, { dims: readonly number[]; data: ArrayLike<number | bigint> }>;

function expectClose(got: Outputs, wanted: Awaited<ReturnType<typeof oracle>>): void {
  for (const [name, want] of Object.entries(wanted)) {
    expect(got[name]?.dims, `dims of ${name}`).toEqual([...want.dims]);
    const { maximum, range } = difference(got[name]?.data ?? [], want.data);
    expect(maximum, name).toBeLessThanOrEqual(tolerance * Math.max(1, range));
  }
}

const imported = ({ spec }: Case): Graph => inferShapes(graphFromOnnx(parseModel(modelBytes(spec))));
const evaluated = (graph: Graph, { feeds }: Case): Outputs => Object.fromEntries(interpret(graph, new Map(Object.entries(feeds))));

/** Runs a case with the reference kernels and 8-bit activations of either sign, as the engines of other CPUs have them. */
async function runAs(activation: 'uint8' | 'int8', { spec, feeds }: Case): Promise<Outputs> {
  const program = compile(modelBytes(spec), { activation });
  const loaded = loadProgram(program.bytes, { isa: 'ref' });
  const bytesOf = (data: ArrayBufferView) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const outputs = program.outputs.map(({ type, dims }) => new arrayTypes[type === 'int64' ? 'int32' : type](elementCount(dims)));
  await loaded.run(program.inputs.map(({ name, flip }) => {
    const { data } = feeds[name] ?? floats([0]);
    return flip ? flipBytes(bytesOf(data)) : data;
  }), outputs);
  await loaded.close();
  return Object.fromEntries(program.outputs.map(({ name, dims, flip }, i) => {
    const data = outputs[i] ?? new Uint8Array(0);
    if (flip) bytesOf(data).set(flipBytes(bytesOf(data)));
    return [name, { dims, data: data instanceof BigInt64Array ? Array.from(data) : data }];
  }));
}

describe.skipIf(oracleMissing !== undefined)(`operators against onnxruntime${oracleMissing === undefined ? '' : ` (${oracleMissing})`}`, () => {
  it.each(cases)('$name: the reference', async (example) => {
    expectClose(evaluated(imported(example), example), await oracle(modelBytes(example.spec), example.feeds, false));
  });

  it.each(cases)('$name: optimized', async (example) => {
    expectClose(evaluated(optimize(imported(example)), example), await oracle(modelBytes(example.spec), example.feeds, false));
  });

  it.each(int4Cases)('$name: weights stay codes', (example) => {
    expect(optimize(imported(example)).nodes.map(({ op }) => op)).toContain('MatMulW4');
  });

  describe.skipIf(nativeMissing !== undefined)(`in the native engine${nativeMissing === undefined ? '' : ` (${nativeMissing})`}`, () => {
    it.each(cases)('$name', async (example) => {
      const session = await openNative(modelBytes(example.spec));
      const got = await session.run(Object.fromEntries(Object.entries(example.feeds).map(([name, value]) => [name, asTensor(value)])));
      await session.close();
      expectClose(got, await oracle(modelBytes(example.spec), example.feeds, false));
    });

    it('DynamicQuantizeLSTM, up to the rounding of what onnxruntime multiplies', async () => {
      const session = await openNative(modelBytes(dynamicLstm.spec));
      const got = await session.run(Object.fromEntries(Object.entries(dynamicLstm.feeds).map(([name, value]) => [name, asTensor(value)])));
      await session.close();
      for (const [name, { data }] of Object.entries(await oracle(modelBytes(dynamicLstm.spec), dynamicLstm.feeds, false))) expect(difference(got[name]?.data ?? [], data).maximum, name).toBeLessThan(0.02);
    });

    describe.each(['uint8', 'int8'] as const)('integers with %s activations', (activation) => {
      it.each(integerCases)('$name', async (example) => {
        expectClose(await runAs(activation, example), await oracle(modelBytes(example.spec), example.feeds, false));
      });
    });
  });
});
