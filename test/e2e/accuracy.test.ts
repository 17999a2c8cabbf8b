import { existsSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import type { Format } from '../../runtime/quantize/formats/grids.js';
import { quantizeModel } from '../../runtime/quantize/quantize.js';
import { createSession } from '../../runtime/session.js';
import { sharedFile } from '../support/shared.js';
import { audioTask } from './accuracy/audio.js';
import { detectionTask } from './accuracy/detection.js';
import { faceTask } from './accuracy/faces.js';
import type { AccuracyTask } from './accuracy/task.js';
import { missingForRecognition } from './recognition.js';

/** How much worse than the float model each format may be, in the unit of the metric. */
const bars: Readonly<Record<string, Partial<Record<Format, number>>>> = {
  audio: { int8: 0.01, w46: 0.02, int4: 0.04 },
  detection: { int8: 0.005, w46: 0.02, int4: 0.05 },
  faces: { int8: 0.005, w46: 0.02, int4: 0.05 },
};

const tasks: Readonly<Record<string, () => AccuracyTask | Promise<AccuracyTask>>> = { audio: audioTask, detection: detectionTask, faces: faceTask };

const asked = process.env['STERNA_ACCURACY'] ?? '';
const reasons = [asked === '' ? 'set STERNA_ACCURACY=1, or to task:format,...' : '', existsSync(sharedFile('models')) ? '' : 'no shared models', missingForRecognition()].filter((reason) => reason !== '');
const wanted = (task: string, format: string): boolean => asked === '1' || asked.split(',').some((entry) => entry === task || entry === `${task}:${format}`);

describe.skipIf(reasons.length > 0)(`accuracy of formats${reasons.length === 0 ? '' : ` (skipped: ${reasons.join(', ')})`}`, () => {
  const opened = new Map<string, Promise<AccuracyTask>>();
  const floatScores = new Map<string, number>();
  const rows: string[] = [];
  afterAll(() => console.log(rows.join('\n')));

  for (const [task, limits] of Object.entries(bars)) {
    for (const [format, bar] of Object.entries(limits) as [Format, number][]) {
      it.skipIf(!wanted(task, format))(`${task} in ${format} loses at most ${bar}`, async () => {
        const open = opened.get(task) ?? Promise.resolve(tasks[task]?.() as AccuracyTask);
        opened.set(task, open);
        const { name, metric, model, calibration, score } = await open;
        const started = performance.now();
        const { model: bytes, report } = await quantizeModel(model, calibration, { format, ...(JSON.parse(process.env['STERNA_ACCURACY_OPTIONS'] ?? '{}') as object) });
        const seconds = (performance.now() - started) / 1000;
        const [float, session] = await Promise.all([createSession(model), createSession(bytes)]);
        const before = floatScores.get(task) ?? (await score(float, float));
        floatScores.set(task, before);
        const after = await score(session, float);
        await Promise.all([float.close(), session.close()]);
        rows.push(JSON.stringify({ task: name, metric, format, float: before, quantized: after, drop: before - after, bar, output_cosine: report.output_cosine, low_bit_macs: report.low_bit_macs, seconds }));
        expect(before - after).toBeLessThanOrEqual(bar);
      }, 900_000);
    }
  }
});
