import { existsSync, readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { openNative } from '../../runtime/engines/native.js';
import type { TensorValue } from '../../runtime/graph/tensor-value.js';
import { randomTensor } from './support/models.js';
import { nativeMissing } from './support/native.js';
import { asTensor, difference, oracle, oracleMissing } from './support/oracle.js';

const folder = join(process.env['STERNA_SHARED'] ?? fileURLToPath(new URL('../../../shared', import.meta.url)), 'models');
const files = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.onnx')) : [];
const reason = nativeMissing ?? oracleMissing ?? (files.length === 0 ? `no models in ${folder}` : undefined);

/** Step of the last quantization of models whose result is quantized. */
const outputSteps: Readonly<Record<string, number>> = { 'mobilenet_v2_224_random_qdq.onnx': 0.5 };
/** Models that take raw pixel values. */
const rawPixels = new Set(['yunet_n_320_320.onnx']);

describe.skipIf(reason !== undefined)(`whole models in the native engine against onnxruntime${reason === undefined ? '' : ` (${reason})`}`, () => {
  it.each(files)('%s', { timeout: 120_000 }, async (file) => {
    const bytes = await readFile(join(folder, file));
    const session = await openNative(bytes);
    const [low, high] = rawPixels.has(file) ? [0, 255] : [-1, 1];
    const feeds: Record<string, TensorValue> = Object.fromEntries(session.inputs.map(({ name, dims }, i) => [name, randomTensor(dims, i + 1, low, high)]));
    const got = await session.run(Object.fromEntries(Object.entries(feeds).map(([name, value]) => [name, asTensor(value)])));
    await session.close();
    for (const [name, want] of Object.entries(await oracle(bytes, feeds))) {
      const data = Array.from(got[name]?.data ?? [], Number);
      const step = outputSteps[file];
      if (step === undefined) {
        const { maximum, range } = difference(data, want.data);
        expect(maximum / range, name).toBeLessThanOrEqual(1e-4);
      } else {
        const distances = data.map((value, i) => Math.round(Math.abs(value - (want.data[i] ?? 0)) / step));
        expect(Math.max(...distances), name).toBeLessThanOrEqual(2);
        expect(distances.filter((distance) => distance <= 1).length / distances.length, name).toBeGreaterThanOrEqual(0.999);
      }
    }
  });
});
