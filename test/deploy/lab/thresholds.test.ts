/** FAT on a network that the test builds: outputs come closer to those of the float model on samples that were not tuned on. */
import { describe, expect, it } from 'vitest';
import { tuneThresholds } from '../../../deploy/lab/methods/thresholds.js';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { serializeModel } from '../../../runtime/onnx/serialize.js';
import { quantizeModel } from '../../../runtime/quantize/quantize.js';
import { openNative } from '../../../runtime/engines/native.js';
import { fromNumbers, toNumbers } from '../../../runtime/graph/tensor-value.js';
import { asTensor } from '../../../runtime/tensor.js';
import { invertedResiduals } from '../../runtime/support/inverted-residuals.js';
import { modelBytes, randomTensor } from '../../runtime/support/models.js';
import { nativeMissing } from '../../runtime/support/native.js';
import { oracleMissing } from '../../runtime/support/oracle.js';

const float = modelBytes(invertedResiduals('float32', 16));
const samples = Array.from({ length: 20 }, (_, i) => ({ x: asTensor(randomTensor([1, 3, 16, 16], i + 1)) }));

/** The quantized model with scales of activations that are too large: what a bad calibration leaves. */
function spoiled(bytes: Uint8Array, factor: number): Uint8Array {
  const model = parseModel(bytes);
  const initializers = new Map(model.graph.initializers);
  const read = new Set(model.graph.nodes.filter(({ op }) => op === 'QuantizeLinear').map(({ inputs }) => inputs[1] ?? ''));
  for (const name of read) {
    const scale = initializers.get(name);
    if (scale !== undefined) initializers.set(name, fromNumbers('float32', scale.dims, [...toNumbers(scale)].map((s) => s * factor)));
  }
  // Biases are in units of the input's scale times the weights'.
  for (const { op, inputs: [codes = '', scale = ''] } of model.graph.nodes) {
    const [stored, units] = [initializers.get(codes), initializers.get(scale)];
    if (op !== 'DequantizeLinear' || stored?.dtype !== 'int32' || units === undefined) continue;
    initializers.set(scale, fromNumbers('float32', units.dims, [...toNumbers(units)].map((s) => s * factor)));
    initializers.set(codes, fromNumbers('int32', stored.dims, [...toNumbers(stored)].map((code) => Math.round(code / factor))));
  }
  return serializeModel({ ...model, graph: { ...model.graph, initializers } });
}

describe.skipIf(oracleMissing !== undefined)(`fine-tuned thresholds${oracleMissing === undefined ? '' : ` (${oracleMissing})`}`, () => {
  it('bring the outputs closer to the float ones on samples that were not tuned on', async () => {
    const { model } = await quantizeModel(float, samples, { method: 'minmax', biasCorrection: false });
    const losses: number[] = [];
    // Factors move by a thousandth a step, and whether the first hundred help depends on how a CPU rounds.
    const { model: tuned, report } = await tuneThresholds(float, spoiled(model, 4), samples, { steps: 400, onStep: (_, __, loss) => void losses.push(loss) });
    expect(report).toMatchObject({ steps: 400, tuned_samples: 16, judged_samples: 4, kept: true });
    expect(report.error_after).toBeLessThan(0.97 * report.error_before);
    expect(losses.every(Number.isFinite)).toBe(true);
    expect(graphFromOnnx(parseModel(tuned)).nodes.map(({ op }) => op)).toEqual(graphFromOnnx(parseModel(model)).nodes.map(({ op }) => op));
  });

  it.skipIf(nativeMissing !== undefined)('give a model that runs on the native engine in 8 bits, biases in the units of the new scales', async () => {
    const { model } = await quantizeModel(float, samples, { method: 'minmax' });
    const { model: tuned, report } = await tuneThresholds(float, spoiled(model, 2), samples.map(() => samples[0] ?? { x: asTensor(randomTensor([1, 3, 16, 16], 1)) }), { steps: 120 });
    expect(report.kept).toBe(true);
    const session = await openNative(tuned);
    const outputs = await session.run(samples[0] ?? {});
    await session.close();
    expect(Object.values(outputs).every(({ data }) => Array.from(data, Number).every(Number.isFinite))).toBe(true);
    const graph = graphFromOnnx(parseModel(tuned));
    const behind = (value: string | undefined) => graph.nodes.find(({ op, outputs: [made] }) => op === 'DequantizeLinear' && made === value);
    const scale = (value: string | undefined): number[] => [...toNumbers(graph.constants.get(behind(value)?.inputs[1] ?? '') ?? { dtype: 'float32', dims: [0], data: new Float32Array(0) })];
    const biased = graph.nodes.filter(({ op, inputs }) => op === 'Conv' && behind(inputs[2]) !== undefined);
    expect(biased.length).toBeGreaterThan(0);
    for (const { inputs: [x, w, b] } of biased) {
      const [[input = 0], weights] = [scale(x), scale(w)];
      expect(scale(b)).toEqual(weights.map((s) => Math.fround(s * input)));
    }
  });

  it('keep the model when tuning does not help, and refuse too few samples', async () => {
    const { model } = await quantizeModel(float, samples);
    const { report, model: result } = await tuneThresholds(float, model, samples, { steps: 1 });
    expect(result === model).toBe(!report.kept);
    await expect(tuneThresholds(float, model, samples.slice(0, 9), { steps: 1 })).rejects.toMatchObject({ code: 'E_LAB', message: expect.stringMatching(/at least 10 samples/) as string });
  });
});
