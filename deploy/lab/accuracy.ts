import { openOnnxRuntime } from '../../runtime/engines/onnxruntime.js';
import type { Session } from '../../runtime/session-types.js';
import { cutPatch, type Clip } from './clips.js';
import type { Geometry } from './examples.js';
import type { Student } from './student.js';

/** Recordings that are recognized by the mean of the probabilities of their patches, half a patch apart. */
export async function accuracyOf(bytes: Uint8Array, { input, output }: Student, clips: readonly Clip[], geometry: Geometry, batch: number): Promise<number> {
  const { rows, bands } = geometry;
  const session: Session = await openOnnxRuntime(bytes, { shapes: { [input]: [batch, 1, rows, bands] } });
  let right = 0;
  for (const clip of clips) {
    const sums: number[] = [];
    const places = Math.max(1, Math.floor((clip.features.length / bands - rows) / (rows / 2)) + 1);
    for (let from = 0; from < places; from += batch) {
      const data = new Float32Array(batch * rows * bands);
      const used = Math.min(batch, places - from);
      for (let slot = 0; slot < used; slot++) cutPatch(clip, ((from + slot) * rows) / 2, geometry, data.subarray(slot * rows * bands, (slot + 1) * rows * bands));
      const logits = (await session.run({ [input]: { type: 'float32', dims: [batch, 1, rows, bands], data } }))[output];
      addProbabilities(sums, logits?.data as Float32Array, used, logits?.dims[1] ?? 1);
    }
    if (sums.indexOf(Math.max(...sums)) === clip.label) right++;
  }
  await session.close();
  return right / Math.max(1, clips.length);
}

function addProbabilities(sums: number[], logits: Float32Array, patches: number, classes: number): void {
  for (let patch = 0; patch < patches; patch++) {
    const own = logits.subarray(patch * classes, (patch + 1) * classes);
    const most = Math.max(...own);
    const total = own.reduce((sum, value) => sum + Math.exp(value - most), 0);
    own.forEach((value, i) => (sums[i] = (sums[i] ?? 0) + Math.exp(value - most) / total));
  }
}
