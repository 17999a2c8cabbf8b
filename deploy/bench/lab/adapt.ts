/** Adapted thresholds: how much of the loss of an embedder that was calibrated on pictures of another camera is won back, and what that takes. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { applyThresholds } from '../../../runtime/adapt/apply.js';
import { adaptThresholds } from '../../../runtime/adapt/tune.js';
import { modelInputs } from '../../../runtime/quantize/prepare/read-model.js';
import { quantizeModel } from '../../../runtime/quantize/quantize.js';
import { centredCosine, outputsOf } from '../../../runtime/quantize/report/fidelity.js';
import { createSession } from '../../../runtime/session.js';
import type { Feeds } from '../../compress/samples.js';
import { absentOf, type Absent, type Bar } from '../bars.js';
import { readFaces } from './faces.js';
import type { LabBenchOptions } from './options.js';

/** The other camera shows pixels 0..255 with so much contrast, and so much darker. */
const cameras = { flat: { gain: 0.25, dark: 0 }, dim: { gain: 0.35, dark: 60 }, hard: { gain: 2.5, dark: 0 } } as const;

/** A face as the other camera shows it, in whole pixel values. */
function seenBy({ gain, dark }: { gain: number; dark: number }, feeds: Feeds): Feeds {
  const shown = (value: number): number => (Math.min(255, Math.max(0, Math.round(127.5 + 128 * value * gain - dark))) - 127.5) / 128;
  return Object.fromEntries(Object.entries(feeds).map(([name, tensor]) => [name, { ...tensor, data: Float32Array.from(Array.from(tensor.data, Number), shown) }]));
}

async function answers(model: Uint8Array, samples: readonly Feeds[]): ReturnType<typeof outputsOf> {
  const session = await createSession(model);
  try {
    return await outputsOf(session, samples);
  } finally {
    await session.close();
  }
}

export async function adaptBars({ models, samples, signal }: LabBenchOptions & { models: string; samples: string }): Promise<Bar[] | Absent> {
  const [path, folder] = [join(models, 'fr_feature.onnx'), join(samples, 'orl')];
  const absent = absentOf([path, folder]);
  if (absent !== undefined) return absent;
  const float = await readFile(path);
  const [input] = modelInputs(float);
  const faces = input === undefined ? [] : await readFaces(folder, input);
  const people = [...new Set(faces.map(({ person }) => person))];
  // Three groups of people: calibration, the device, and those whom neither has seen.
  const of = (group: number): Feeds[] => faces.filter(({ person }) => people.indexOf(person) % 3 === group).filter((_, i) => i % 2 === 0).map(({ feeds }) => feeds);
  const [calibration, device, unseen] = [of(0), of(1), of(2)];
  const wanted = await answers(float, unseen);
  const lossOf = async (model: Uint8Array): Promise<number> => 1 - centredCosine(wanted, await answers(model, unseen));
  const bars: Bar[] = [];
  for (const [name, camera] of Object.entries(cameras)) {
    signal.throwIfAborted();
    const { model } = await quantizeModel(float, calibration.map((feeds) => seenBy(camera, feeds)), { format: 'int8' });
    const cpu = process.cpuUsage();
    const { thresholds } = await adaptThresholds(model, device.slice(0, 48), { onStep: () => signal.throwIfAborted() });
    const { user, system } = process.cpuUsage(cpu);
    const [before, after] = [await lossOf(model), await lossOf(applyThresholds(model, thresholds))];
    const value = 1 - after / before;
    bars.push({ id: `lab.adapt_${name}`, what: `loss of fr_feature in int8, calibrated on a ${name} camera, that adapted thresholds win back: 1 - centred cosine to float32 on ${unseen.length} faces of other people ${before.toFixed(4)} -> ${after.toFixed(4)} (${((user + system) / 1e6).toFixed(1)} s of processor time)`, value: 100 * value, unit: '%', bar: '>= 50', met: value >= 0.5 });
  }
  return bars;
}
