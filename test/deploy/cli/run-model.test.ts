import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, expect, it } from 'vitest';
import type { FrameLine } from '../../../deploy/run/run.js';
import { guessKind } from '../../../deploy/run/recognize.js';
import { sharedFile } from '../../support/shared.js';
import { nativeMissing } from '../../runtime/support/native.js';
import { captureCli } from './capture.js';
import { boxesModel, meansModel } from './single-model.js';

const folder = mkdtempSync(join(tmpdir(), 'sterna-run-model-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('one vector is a classification, or an embedding by its length; all else is a detector', () => {
  const info = (dims: number[], ends: string[] = []) => ({ inputs: [], outputs: [{ name: 'y', type: 'float32' as const, dims }], ends: { y: ends } });
  expect([info([1, 1000]), info([1, 512]), info([1, 512], ['Softmax']), info([1, 42, 85])].map(guessKind)).toEqual(['classification', 'embedding', 'classification', 'detection']);
});

const model = sharedFile('models/yolox_nano.onnx');
const picture = sharedFile('samples/coco128/images/000000000139.jpg');
it.skipIf(!existsSync(model) || !existsSync(picture))('a detector runs without a package, says what it assumed, and takes options instead', async () => {
  const { code, out, err } = await captureCli(['run', model, '--input', picture]);
  expect([code, err]).toEqual([0, expect.stringMatching(/assumed --kind detection[^]*assumed --decoder yolox[^]*assumed --channels bgr[^]*assumed --labels 80 names/) as string]);
  const frame = JSON.parse(out.split('\n')[0] ?? '') as FrameLine;
  expect(frame.findings.length).toBeGreaterThan(0);
  writeFileSync(join(folder, 'labels.txt'), Array.from({ length: 80 }, (_, i) => `thing ${i}`).join('\n'));
  const named = await captureCli(['run', model, '--input', picture, '--labels', join(folder, 'labels.txt'), '--score', '0.2', '--mean', '0']);
  expect(named.err).not.toMatch(/assumed --(labels|score|mean)/);
  const again = JSON.parse(named.out.split('\n')[0] ?? '') as FrameLine;
  expect(again.findings.length).toBeGreaterThanOrEqual(frame.findings.length);
  expect(again.findings.every(({ label }) => label.startsWith('thing '))).toBe(true);
  const wrong = await captureCli(['run', model, '--input', picture, '--decoder', 'detr']);
  expect([wrong.code, wrong.err]).toEqual([expect.any(Number), expect.stringMatching(/output float32\[1, 3549, 85\].*decoder detr needs/) as string]);
}, 120_000);

it.skipIf(nativeMissing !== undefined)('a detector computes only what has changed when it is told to, and a pipeline that cannot refuses', async () => {
  const [detector, scene] = [join(folder, 'boxes.onnx'), join(folder, 'scene')];
  writeFileSync(detector, boxesModel([[0, 0, 0.5, 0.5]], [1, 3, 64, 64]));
  mkdirSync(scene);
  for (let i = 0; i < 3; i++) await sharp({ create: { width: 64, height: 64, channels: 3, background: '#f00' } }).png().toFile(join(scene, `${i}.png`));
  const { code, out, err } = await captureCli(['run', detector, '--input', scene, '--fps', '5', '--no-motion', '--incremental']);
  expect([code, err]).toEqual([0, expect.stringContaining('2 computed in part') as string]);
  const frames = out.trim().split('\n').map((line) => JSON.parse(line) as FrameLine).filter(({ type }) => type === 'frame');
  expect(frames.map(({ exit }) => exit)).toEqual(['full', 'partial', 'partial']);
  const classifier = join(folder, 'means.onnx');
  writeFileSync(classifier, meansModel(3));
  const refused = await captureCli(['run', classifier, '--input', scene, '--incremental']);
  expect([refused.code, refused.err]).toEqual([2, expect.stringContaining('of the kind detection for --incremental but received one of the kind classification') as string]);
}, 60_000);

it('options of a model are refused with anything else', async () => {
  const { code, err } = await captureCli(['run', join(folder, 'x.sterna'), '--input', folder, '--iou', '0.5']);
  expect([code, err]).toEqual([2, expect.stringContaining('--iou with an .onnx model') as string]);
});
