/** Training runs on recordings that the test synthesizes: what they learn, that they go on with the same bits, and what they refuse. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseLabConfig, type LabConfig } from '../../../deploy/lab/config.js';
import { runLab } from '../../../deploy/lab/run.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { oracleMissing } from '../../runtime/support/oracle.js';
import { nativeMissing } from '../../runtime/support/native.js';
import { temporaryFolder } from '../../support/folder.js';
import { tone, writeTones } from './tones.js';

const missing = oracleMissing ?? nativeMissing;

const config = (folder: string, more: Readonly<Record<string, unknown>> = {}): LabConfig => parseLabConfig(JSON.stringify({
  model: { student: { width: 0.25 } }, data: { kind: 'clips', folder, rows: 48, test_folds: [2] }, steps: 24, batch: 8, rate: 0.01, checkpoint_steps: 8, average: 0.5, seed: 3, ...more,
}), 'lab.yaml');

describe.skipIf(missing !== undefined)(`a run of the lab${missing === undefined ? '' : ` (${missing})`}`, () => {
  let folder: string;
  beforeAll(async () => {
    folder = await writeTones(await mkdtemp(join(tmpdir(), 'sterna-lab-')));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('learns, and writes the model, its curve and its record', async () => {
    const out = temporaryFolder();
    const report = await runLab(config(folder), out);
    expect(report).toMatchObject({ steps: 24, train_clips: 6, test_clips: 2, accuracy: 1 });
    expect(report.loss).toBeLessThan(0.5);
    const model = parseModel(await readFile(join(out, 'model.onnx')));
    expect(JSON.parse(model.metadata.get('sterna.lab') ?? '{}')).toMatchObject({ classes: ['high', 'low'], config: { seed: 3 }, data_sha256: report.data_sha256 });
    expect(await readFile(join(out, 'loss.svg'), 'utf8')).toContain('<polyline');
    expect(JSON.parse(await readFile(join(out, 'run.json'), 'utf8'))).toMatchObject({ accuracy: 1 });
  });

  it('that ends at any step goes on from its checkpoint, to the same bits', async () => {
    const [whole, broken] = [temporaryFolder(), temporaryFolder()];
    await runLab(config(folder), whole);
    const stop = (at: number) => ({ onStep: (step: number) => { if (step === at) throw new Error('power cut'); } });
    await expect(runLab(config(folder), broken, stop(13))).rejects.toThrow('power cut');
    const steps: number[] = [];
    await runLab(config(folder), broken, { onStep: (step) => void steps.push(step) });
    expect(steps[0]).toBe(9);
    expect((await readFile(join(broken, 'model.onnx'))).equals(await readFile(join(whole, 'model.onnx')))).toBe(true);
  });

  it('does not go on from a checkpoint of another run, nor from a damaged one', async () => {
    const out = temporaryFolder();
    await runLab(config(folder, { steps: 8 }), out);
    await expect(runLab(config(folder, { steps: 8, seed: 4 }), out)).rejects.toMatchObject({ code: 'E_LAB', message: expect.stringMatching(/another configuration, model, teacher or data; delete it/) as string });
    const path = join(out, 'checkpoint.bin');
    await writeFile(path, (await readFile(path)).subarray(0, 500));
    await expect(runLab(config(folder, { steps: 8 }), out)).rejects.toMatchObject({ code: 'E_LAB', message: expect.stringMatching(/is damaged/) as string });
  });

  it('stops at a loss that is no number, and names the step and the tensor', async () => {
    await expect(runLab(config(folder, { rate: 1e30, warmup: 0, optimizer: { kind: 'sgd' } }), temporaryFolder())).rejects.toMatchObject({ code: 'E_LAB', message: expect.stringMatching(/^Step \d+: the loss is .*the gradient by '.+' is not finite; the last checkpoint is kept/) as string });
  });

  it('learns from a teacher, and refuses one of other classes', async () => {
    const [teacher, other] = [temporaryFolder(), temporaryFolder()];
    const { model } = await runLab(config(folder), teacher);
    const losses: number[] = [];
    await runLab(config(folder, { teacher: { model, weight: 0.9 }, seed: 5 }), other, { onStep: (_, __, loss) => void losses.push(loss) });
    const sum = (part: readonly number[]): number => part.reduce((total, loss) => total + loss, 0);
    expect(sum(losses.slice(-4))).toBeLessThan(0.9 * sum(losses.slice(0, 4)));
    const three = await writeTones(temporaryFolder());
    await mkdir(join(three, 'none'));
    await writeFile(join(three, 'none', '1-0.wav'), tone(900, 1));
    await expect(runLab(config(three, { teacher: { model } }), temporaryFolder())).rejects.toMatchObject({ code: 'E_LAB', message: expect.stringMatching(/The teacher gives \[8, 2\]; expected logits of \[8, 3\]/) as string });
  });

  it.each([
    ['one class', { data: { kind: 'clips', folder: 'one' } }, /a folder for each of at least two classes/],
    ['a class that is only tested', { data: { kind: 'clips', folder: '', rows: 48, test_folds: [1, 2] } }, /Class 'high' has no recording outside the test folds/],
    ['folds that nothing is in', { data: { kind: 'clips', folder: '', rows: 48, test_folds: [9] } }, /No recording is in the test folds \[9\]/],
  ] as const)('is refused for %s', async (_, { data }, message) => {
    const empty = temporaryFolder();
    await mkdir(join(empty, 'only'));
    await expect(runLab(config(folder, { data: { ...data, folder: data.folder === 'one' ? empty : folder } }), temporaryFolder())).rejects.toMatchObject({ code: 'E_LAB', message: expect.stringMatching(message) as string });
  });
});

describe('lab.yaml', () => {
  it.each([
    ['loss: {kind: mse}\nmodel: a\ndata: {kind: clips, folder: b}', /lab\.yaml: loss\.kind/],
    ['modle: a\ndata: {kind: clips, folder: b}', /lab\.yaml/],
    ['model: a\ndata: {kind: clips, folder: b}\nbatch: 0', /lab\.yaml: batch/],
    ['a: [', /lab\.yaml is not YAML/],
  ])('names the key that is wrong: %j', (text, message) => {
    expect(() => parseLabConfig(text, 'lab.yaml')).toThrow(expect.objectContaining({ code: 'E_USAGE', message: expect.stringMatching(message) as string }));
  });
});
