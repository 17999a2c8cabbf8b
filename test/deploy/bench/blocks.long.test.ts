import { describe, expect, it } from 'vitest';
import { blockModels, linearFormats, type LinearFormat } from '../../../deploy/bench/blocks.js';
import { operatorBars, operatorModels } from '../../../deploy/bench/operators.js';
import { fromNumbers } from '../../../runtime/graph/tensor-value.js';
import { createSession } from '../../../runtime/session.js';
import { difference, oracle, oracleMissing } from '../../runtime/support/oracle.js';
import { nativeMissing } from '../../runtime/support/native.js';

/** Of the output's range. Where activations are quantized in each run, a rounding that differs is a step that does. */
const tolerance: Readonly<Record<LinearFormat, number>> = { float32: 1e-5, 'dynamic int8': 0.1 };

describe.skipIf(nativeMissing !== undefined || oracleMissing !== undefined)(`networks of the bench compute what they compute in onnxruntime${nativeMissing ?? oracleMissing ?? ''}`, () => {
  it.each(linearFormats.flatMap((format) => ['ViT-tiny', 'Swin', 'ConvNeXt'].map((name) => [name, format] as const)))('%s, %s', async (name, format) => {
    const bytes = blockModels[name]?.(format) ?? new Uint8Array(0);
    const session = await createSession(bytes, { threads: 1 });
    const dims = session.inputs[0]?.dims ?? [];
    const x = fromNumbers('float32', dims, Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i * 0.37)));
    const outputs = Object.values(await session.run({ x: { type: 'float32', dims, data: x.data as Float32Array } }));
    await session.close();
    const [wanted] = Object.values(await oracle(bytes, { x }));
    expect(outputs[0]?.dims).toEqual(wanted?.dims);
    const { maximum, range } = difference(outputs[0]?.data ?? [], wanted?.data ?? []);
    expect(range).toBeGreaterThan(0.1);
    expect(maximum).toBeLessThan(tolerance[format] * range);
  });
});

describe('bars of networks', () => {
  const times = (name: string, speedup: number) => ({ name, p50_ms: {}, min_ms: {}, speedup_p50: speedup, speedup_min: speedup });

  it('are a geometric mean and the slowest, for each format that was timed', () => {
    const bars = operatorBars([times('Tanh', 0.9), times('Network(Swin)', 2), times('Network(ConvNeXt)', 0.5), times('Network(Swin, dynamic int8)', 1.5)]);
    expect(bars.map(({ id, value, bar, met }) => [id, value, bar, met])).toEqual([
      ['operator.Tanh', 0.9, 1, false], ['networks.float32.mean', 1, 1.1, false], ['networks.float32.worst', 0.5, 0.95, false],
      ['networks.dynamic int8.mean', 1.5, 1.3, true], ['networks.dynamic int8.worst', 1.5, 1.3, true],
    ]);
  });

  it('every network can be timed in both formats', () => {
    for (const name of Object.keys(blockModels)) expect(Object.keys(operatorModels)).toEqual(expect.arrayContaining([`Network(${name})`, `Network(${name}, dynamic int8)`]));
  });
});
