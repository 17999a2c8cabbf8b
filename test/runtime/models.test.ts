import { existsSync, readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openNative } from '../../runtime/engines/native.js';
import type { TensorValue } from '../../runtime/graph/tensor-value.js';
import { parseModel } from '../../runtime/onnx/parse.js';
import type { OnnxModel } from '../../runtime/onnx/types.js';
import { asTensor } from '../../runtime/tensor.js';
import { sharedFile } from '../support/shared.js';
import { model, node, randomTensor } from './support/models.js';
import { nativeMissing } from './support/native.js';
import { difference, oracle, oracleMissing } from './support/oracle.js';

const folder = sharedFile('models');
const files = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.onnx')) : [];
const reason = nativeMissing ?? oracleMissing ?? (files.length === 0 ? `no models in ${folder}` : undefined);

/** What one step of an output is, when the output is dequantized last. */
function stepOf({ graph }: OnnxModel, output: string): number | undefined {
  const last = graph.nodes.find((node) => node.outputs.includes(output));
  const scale = last?.op === 'DequantizeLinear' ? graph.initializers.get(last.inputs[1] ?? '')?.data[0] : undefined;
  return scale === undefined ? undefined : Number(scale);
}

/** Models that take raw pixel values. */
const rawPixels = new Set(['yunet_n_320_320.onnx']);

/** Feeds of models that leave sizes open, or compute different networks for different numbers. */
const fed: Readonly<Record<string, Readonly<Record<string, TensorValue>>>> = {
  'silero_vad_v6.onnx': { input: randomTensor([1, 576], 1, -1, 1), state: randomTensor([2, 1, 128], 2, -1, 1), sr: { dtype: 'int64', dims: [], data: BigInt64Array.of(16_000n) } },
};

it('quantized outputs are told from float ones', () => {
  const scale = { dtype: 'float32', dims: [], data: Float32Array.of(0.5) } as const;
  const quantized = model({ inputs: {}, constants: { s: scale }, nodes: [node('DequantizeLinear', ['q', 's'], ['y']), node('Relu', ['y'], ['z'])], outputs: ['y', 'z'] });
  expect([stepOf(quantized, 'y'), stepOf(quantized, 'z')]).toEqual([0.5, undefined]);
});

describe.skipIf(reason !== undefined)(`whole models in the native engine against onnxruntime${reason === undefined ? '' : ` (${reason})`}`, () => {
  it.each(files)('%s', { timeout: 120_000 }, async (file) => {
    const bytes = await readFile(join(folder, file));
    const parsed = parseModel(bytes);
    const session = await openNative(bytes);
    const [low, high] = rawPixels.has(file) ? [0, 255] : [-1, 1];
    const feeds = fed[file] ?? Object.fromEntries(session.inputs.map(({ name, dims }, i) => [name, randomTensor(dims, i + 1, low, high)]));
    const got = await session.run(Object.fromEntries(Object.entries(feeds).map(([name, value]) => [name, asTensor(value)])));
    await session.close();
    for (const [name, want] of Object.entries(await oracle(bytes, feeds))) {
      const data = Array.from(got[name]?.data ?? [], Number);
      const step = stepOf(parsed, name);
      if (step === undefined) {
        const { maximum, range } = difference(data, want.data);
        expect(maximum / range, name).toBeLessThanOrEqual(1e-4);
      } else {
        const distances = data.map((value, i) => Math.round(Math.abs(value - (want.data[i] ?? 0)) / step));
        expect(distances.reduce((most, distance) => Math.max(most, distance), 0), name).toBeLessThanOrEqual(2);
        expect(distances.filter((distance) => distance <= 1).length / distances.length, name).toBeGreaterThanOrEqual(0.999);
      }
    }
  });
});
