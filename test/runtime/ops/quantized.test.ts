import { describe, expect, it } from 'vitest';
import { loadProgram, type Isa } from '../../../kernels/binding/index.js';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import type { Graph } from '../../../runtime/graph/graph.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import { interpret } from '../../../runtime/infer/interpret.js';
import { compile } from '../../../runtime/lower/compile.js';
import { optimize } from '../../../runtime/optimize/optimize.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { modelBytes } from '../support/models.js';
import { nativeMissing } from '../support/native.js';
import { oracle, oracleMissing } from '../support/oracle.js';
import { outputScale, quantizedCases, type QuantizedCase } from './quantized-cases.js';

const imported = ({ spec }: QuantizedCase): Graph => inferShapes(graphFromOnnx(parseModel(modelBytes(spec))));

/** Distance in steps of the output's quantization: the largest, and the share of elements within one. */
function steps(got: ArrayLike<number | bigint>, wanted: ArrayLike<number>): { maximum: number; withinOne: number } {
  let maximum = got.length === wanted.length ? 0 : Infinity;
  let near = 0;
  for (let i = 0; i < wanted.length; i++) {
    const distance = Math.round(Math.abs(Number(got[i]) - (wanted[i] ?? 0)) / outputScale);
    maximum = Math.max(maximum, distance);
    if (distance <= 1) near++;
  }
  return { maximum, withinOne: near / wanted.length };
}

/** The project's promise: at most 2 steps off, and at most 1 on 99.9 % of elements. */
function expectWithinSteps(got: ArrayLike<number | bigint>, wanted: ArrayLike<number>): void {
  const { maximum, withinOne } = steps(got, wanted);
  expect(maximum).toBeLessThanOrEqual(2);
  expect(withinOne).toBeGreaterThanOrEqual(0.999);
}

const onlyOutput = <T>(outputs: Readonly<Record<string, T>> | ReadonlyMap<string, T>): T => {
  const [value] = outputs instanceof Map ? [...outputs.values()] : Object.values(outputs);
  if (value === undefined) throw new Error('Expected one output but found none');
  return value;
};

describe('quantized operators', () => {
  it.each(quantizedCases)('$name: $op does it', (example) => {
    const graph = optimize(imported(example));
    expect(graph.nodes.map((node) => node.op)).toContain(example.op);
    const remaining = graph.nodes.filter((node) => node.op === 'NhwcConv' || node.op === 'BinaryF32');
    expect(remaining, 'float operators').toEqual([]);
  });
});

describe.skipIf(oracleMissing !== undefined)(`quantized operators against onnxruntime${oracleMissing === undefined ? '' : ` (${oracleMissing})`}`, () => {
  it.each(quantizedCases)('$name: optimized', async (example) => {
    const got = interpret(optimize(imported(example)), new Map(Object.entries(example.feeds)));
    // Its optimizer makes a QLinearConv of weights of two bits, which its own checks then refuse.
    const wanted = onlyOutput(await oracle(modelBytes(example.spec), example.feeds, example.spec.opset !== 25));
    expectWithinSteps(onlyOutput(got).data, wanted.data);
  });
});

/** Runs a case natively with one variant; the activations have the type that the variant's kernels want. */
async function native(example: QuantizedCase, isa: Isa, activation: 'uint8' | 'int8'): Promise<Float32Array> {
  const program = compile(modelBytes(example.spec), { activation });
  const loaded = loadProgram(program.bytes, { isa });
  const output = new Float32Array(onlyOutput(Object.fromEntries(program.outputs.map((port) => [port.name, port.dims]))).reduce((a, b) => a * b, 1));
  await loaded.run(program.inputs.map(({ name }) => example.feeds[name]?.data ?? new Float32Array(0)), [output]);
  await loaded.close();
  return output;
}

describe.skipIf(nativeMissing !== undefined)(`quantized operators in the native engine${nativeMissing === undefined ? '' : ` (${nativeMissing})`}`, () => {
  // The reference kernels exist for both types of activation, so both are tested on every machine.
  describe.each(['uint8', 'int8'] as const)('with %s activations', (activation) => {
    it.each(quantizedCases)('$name: as the reference evaluation', async (example) => {
      const wanted = onlyOutput(interpret(optimize(imported(example)), new Map(Object.entries(example.feeds))));
      const got = await native(example, 'ref', activation);
      // Integers agree to the bit; float functions in between may move a value across a rounding boundary.
      const exact = ['ConvQ8', 'BinaryQ8', 'PoolQ8', 'LutQ8', 'Concat', 'Transpose', 'PadNd'].includes(example.op);
      expect(steps(got, Array.from(wanted.data, Number)).maximum).toBeLessThanOrEqual(exact ? 0 : 1);
      if (example.op === 'ConvQ8F32') expect(got).toEqual(wanted.data);
    });
  });
});
