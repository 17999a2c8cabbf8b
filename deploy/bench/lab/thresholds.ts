/** FAT: what tuned thresholds make of an int8 model, on samples that were not tuned on. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { modelInputs } from '../../../runtime/quantize/prepare/read-model.js';
import { quantizeModel } from '../../../runtime/quantize/quantize.js';
import { tuneThresholds } from '../../lab/methods/thresholds.js';
import { absentOf, type Absent, type Bar } from '../bars.js';
import { readFaces } from './faces.js';
import type { LabBenchOptions } from './options.js';

export async function thresholdBars({ models, samples, steps, signal }: LabBenchOptions & { models: string; samples: string }): Promise<Bar[] | Absent> {
  const [path, folder] = [join(models, 'fr_feature.onnx'), join(samples, 'orl')];
  const absent = absentOf([path, folder]);
  if (absent !== undefined) return absent;
  const model = await readFile(path);
  const [input] = modelInputs(model);
  const feeds = (input === undefined ? [] : await readFaces(folder, input)).filter((_, i) => i % 5 === 0).map((face) => face.feeds);
  const bars: Bar[] = [];
  for (const format of ['int8', 'int4'] as const) {
    const { model: quantized } = await quantizeModel(model, feeds.filter((_, i) => i % 5 !== 4), { format, maxDrop: 1 });
    const { report } = await tuneThresholds(model, quantized, feeds, { steps, onStep: () => signal.throwIfAborted() });
    const value = report.error_after / report.error_before;
    bars.push({ id: `lab.thresholds_${format}`, what: `error of the outputs of fr_feature in ${format} after tuning its scales, share of that before (${report.judged_samples} samples, ${steps} steps)`, value, unit: 'x', bar: '< 1', met: value < 1 });
  }
  return bars;
}
