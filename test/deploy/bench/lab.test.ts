import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { configOf, macsOf, outcomeOf } from '../../../deploy/bench/lab/margin.js';
import { embedderBars } from '../../../deploy/bench/lab/pruning.js';
import { readFaces } from '../../../deploy/bench/lab/faces.js';
import { modelBytes, node, randomTensor } from '../../runtime/support/models.js';
import { nativeMissing } from '../../runtime/support/native.js';
import { oracleMissing } from '../../runtime/support/oracle.js';
import { captureCli } from '../cli/capture.js';

const missing = nativeMissing ?? oracleMissing;

/** What the figures are is for the bench to say. */
describe('the bench of the lab', () => {
  let folder = '';
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sterna-bench-lab-test-'));
    for (let person = 0; person < 5; person++) {
      await mkdir(join(folder, 'orl', `s${person}`), { recursive: true });
      for (let i = 0; i < 6; i++) {
        const grey = Buffer.from(Array.from({ length: 80 }, (_, at) => (37 * person * at + 11 * i) & 255));
        await writeFile(join(folder, 'orl', `s${person}`, `${i}.pgm`), Buffer.concat([Buffer.from('P5\n8 10\n255\n'), grey]));
      }
    }
    const weights = (...dims: number[]) => randomTensor(dims, dims.length + (dims[0] ?? 0));
    await writeFile(join(folder, 'fr_feature.onnx'), modelBytes({
      inputs: { x: [1, 3, 12, 12] }, outputs: ['y'], constants: { a: weights(32, 3, 3, 3), b: weights(32, 32, 3, 3), c: weights(8, 32, 1, 1) },
      nodes: [node('Conv', ['x', 'a'], ['p']), node('Relu', ['p'], ['q']), node('Conv', ['q', 'b'], ['r']), node('Relu', ['r'], ['s']), node('Conv', ['s', 'c'], ['t']), node('GlobalAveragePool', ['t'], ['g']), node('Flatten', ['g'], ['y'])],
    }));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it.skipIf(missing !== undefined)('judges a pruned embedder by people that it was not tuned on, and by time', async () => {
    const bars = await embedderBars({ models: folder, samples: folder, steps: 2, signal: new AbortController().signal });
    expect(bars).toMatchObject([
      { id: 'lab.prune_fr_feature_loss', what: expect.stringMatching(/1 people .* \(4\d % fewer multiply-adds, 2 steps\)/) as string, unit: 'points' },
      { id: 'lab.prune_fr_feature_time', unit: 'x' },
    ]);
  }, 60_000);

  it('trains embedders in equal steps, and judges by each person once', () => {
    const people = Array.from({ length: 7 }, (_, i) => `s${i}`);
    const given = { teacher: 'teacher.onnx', folder, people, dimensions: 8, steps: 5 };
    const tested = [0, 1, 2].flatMap((split) => {
      const [first, ...others] = (['softmax', 'arcface', 'regression', 'margin-distillation'] as const).map((method) => configOf(method, split, given));
      for (const other of others) expect({ ...other, loss: undefined, teacher: undefined }).toEqual({ ...first, loss: undefined, teacher: undefined });
      return first?.data.test_people ?? [];
    });
    expect(tested.sort()).toEqual(people);
  });

  it.skipIf(missing !== undefined)('judges an embedder in float and in int8', async () => {
    const config = configOf('margin-distillation', 0, { teacher: join(folder, 'fr_feature.onnx'), folder: join(folder, 'orl'), people: ['s0', 's1', 's2', 's3', 's4'], dimensions: 8, steps: 1 });
    const { report, int8, macs } = await outcomeOf({ ...config, batch: 4, model: { student: { kind: 'embedder', size: 16, width: 0.125, dimensions: 8 } } }, new AbortController().signal);
    expect(report).toMatchObject({ people: 3, test_people: 2, verification: { same_pairs: 30, other_pairs: 36 }, gallery_verification: { same_pairs: 60, other_pairs: 72 } });
    expect(int8).toBeGreaterThanOrEqual(0);
    expect(macs).toBeGreaterThan(4 * 4 * 8 * 75);
    // Two convolutions of 12 x 12 without padding, 3 x 3 each, and one of 1 x 1.
    expect(macsOf(await readFile(join(folder, 'fr_feature.onnx')))).toBe(100 * 32 * 27 + 64 * 32 * 288 + 64 * 8 * 32);
  }, 60_000);

  it.skipIf(nativeMissing !== undefined)('reads grey pictures, and names what is none', async () => {
    const faces = await readFaces(join(folder, 'orl'), { name: 'x', type: 'float32', dims: [1, 3, 10, 8] });
    expect([faces.length, faces[7]?.person]).toEqual([30, 's1']);
    const data = faces[7]?.feeds['x']?.data ?? [];
    expect([data[0], data[1], data[80]]).toEqual([11, (37 + 11) & 255, 11].map((grey) => (grey - 127.5) / 128));
    await mkdir(join(folder, 'bad', 's'), { recursive: true });
    await writeFile(join(folder, 'bad', 's', '1.pgm'), 'P6 1 1 255\nabc');
    await expect(readFaces(join(folder, 'bad'), { name: 'x', type: 'float32', dims: [1, 3, 10, 8] })).rejects.toMatchObject({ code: 'E_LAB', message: expect.stringContaining('1.pgm') as string });
  });

  it('names what a section needs', async () => {
    const { code, out } = await captureCli(['--json', 'bench-lab', '--only', 'labels', 'detector', '--models', folder, '--samples', folder]);
    expect([code, JSON.parse(out) as object]).toMatchObject([0, { bars: [], absent: { labels: expect.stringContaining('yamnet_w8') as string, detector: expect.stringContaining('ssd_mobilenet') as string } }]);
    const none = await captureCli(['--json', 'bench-lab', '--only', 'embedder']);
    expect(JSON.parse(none.out) as object).toMatchObject({ absent: { embedder: 'it needs --models FOLDER and --samples FOLDER' } });
  });
});
