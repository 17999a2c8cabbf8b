/** Recommendations over small networks: what is tried and written, what is left after an interruption, and what is refused. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chainConfig } from '../../../deploy/lab/chain/config.js';
import { byTime } from '../../../deploy/lab/recommend/energy.js';
import { dominates } from '../../../deploy/lab/recommend/front.js';
import { recommend, type ChainBase, type RecommendInput, type RecommendSettings } from '../../../deploy/lab/recommend/recommend.js';
import type { Recommendation } from '../../../deploy/lab/recommend/report.js';
import { quantizeModel } from '../../../runtime/quantize/quantize.js';
import { instructionsFor } from '../../../runtime/quantize/formats/targets.js';
import { asTensor } from '../../../runtime/tensor.js';
import { modelBytes, node, randomTensor, type ModelSpec } from '../../runtime/support/models.js';
import { oracleMissing } from '../../runtime/support/oracle.js';
import { captureCli } from '../cli/capture.js';
import { net, weights } from './small-net.js';

const bytes = modelBytes(net);
const feeds = (from: number, count: number) => Array.from({ length: count }, (_, i) => ({ x: asTensor(randomTensor([1, 3, 10, 10], from + i)) }));
const input: RecommendInput = { bytes, samples: feeds(1, 25), confirming: feeds(101, 5), shapes: { x: [1, 3, 10, 10] } };
const { chain: _, ...base }: { chain: unknown } & ChainBase = chainConfig.parse({ model: 'net.onnx', data: 'random:25', shapes: { x: [1, 3, 10, 10] }, chain: [{ method: 'minifloat' }] });
/** Instructions are counted: equal on every machine. */
const settings: RecommendSettings = { scenario: 'mobile-cnn', target: 'a72', bounds: { maxDrop: 0.2 }, steps: 3, budgetSeconds: 600, energy: byTime(2.5, 'a72', 'default') };

let folder: string;
let main: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sterna-recommend-'));
  await writeFile(join(folder, 'net.onnx'), bytes);
  main = fileURLToPath(new URL('../../../dist/deploy/cli/main.js', import.meta.url));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const refusal = (message: RegExp): Error => expect.objectContaining({ code: 'E_LAB', message: expect.stringMatching(message) as string }) as Error;

describe('what is refused', () => {
  it.each([
    ['too few samples', { samples: feeds(1, 12) }, {}, /at least 17 samples to recommend by but received 17/],
    ['nothing to confirm by', { confirming: [] }, {}, /at least 17 samples/],
    ['memory that the inputs alone take', {}, { bounds: { maxDrop: 0.1, memoryKb: 0.2 } }, /0.2 kB of memory is impossible: inputs and outputs of the model alone take 0.3 kB/],
    ['a drop of everything', {}, { bounds: { maxDrop: 1 } }, /above 0 and below 1/],
    ['a latency of nothing', {}, { bounds: { maxDrop: 0.1, cost: 0 } }, /above 0 M instructions on a72/],
  ])('is %s', async (_, changed, wished, message) => {
    await expect(recommend({ ...input, ...changed }, base, { ...settings, ...wished }, join(folder, 'refused'))).rejects.toThrow(refusal(message));
  });

  it('is a model that is quantized already', async () => {
    const { model } = await quantizeModel(bytes, input.samples, { engine: 'native' });
    await expect(recommend({ ...input, bytes: model }, base, settings, join(folder, 'refused'))).rejects.toThrow(refusal(/quantized/));
  });

  it('is a command line whose samples, bounds or scenario make no sense', async () => {
    const run = (...words: string[]) => captureCli(['lab', 'recommend', join(folder, 'net.onnx'), '-o', join(folder, 'refused'), ...words]);
    const [empty, wrong] = [join(folder, 'empty'), join(folder, 'wrong')];
    await mkdir(empty);
    await mkdir(wrong);
    // Five values instead of 300.
    const header = "{'descr': '<f4', 'fortran_order': False, 'shape': (5,), }";
    const npy = Buffer.concat([Buffer.from('\x93NUMPY\x01\x00', 'latin1'), Buffer.from([118, 0]), Buffer.from(header.padEnd(117) + '\n'), Buffer.alloc(20)]);
    for (let i = 0; i < 20; i++) await writeFile(join(wrong, `${i}.npy`), npy);
    const calibrate = ['--calibrate', 'random:30'];
    for (const [words, code, message] of [
      [['--scenario', 'cars', ...calibrate], 2, /Allowed choices are face, acoustic, mobile-cnn, low-memory/],
      [['--scenario', 'face'], 2, /--calibrate/],
      [['--scenario', 'face', '--calibrate', empty], 1, /E_LAB: Expected samples in --calibrate/],
      [['--scenario', 'face', '--calibrate', wrong], 1, /E_LAB: The samples do not fit the model: Expected float32\[1, 3, 10, 10\] .* received float32\[5\]/],
      [['--scenario', 'face', '--calibrate', 'random:10'], 1, /E_LAB: Expected at least 17 samples to recommend by but received 10/],
      [['--scenario', 'face', ...calibrate, '--target', 'a72', '--latency-ms', '3'], 1, /E_LAB: --latency-ms cannot be judged on a72.*--instructions/],
      [['--scenario', 'face', ...calibrate, '--instructions', '3'], 1, /E_LAB: --instructions counts those of another core/],
      [['--scenario', 'face', ...calibrate, '--max-drop', '2'], 1, /E_LAB: Expected a largest drop/],
      [['--scenario', 'face', ...calibrate, '--latency-ms', '-1'], 2, /above 0/],
      [['--scenario', 'face', ...calibrate, '--energy', join(folder, 'net.onnx')], 1, /E_LAB: Expected in .* what `sterna energy calibrate --json` prints/],
    ] as const) {
      const got = await run(...words);
      expect([got.code, got.err], words.join(' ')).toEqual([code, expect.stringMatching(message)]);
    }
  });
});

/** What does not depend on when it was done. */
const comparable = ({ spent_seconds: _, resumed: __, tried, ...rest }: Recommendation) => ({ ...rest, tried });

describe.skipIf(oracleMissing !== undefined)(`a recommendation${oracleMissing === undefined ? '' : ` (${oracleMissing})`}`, () => {
  let whole: Recommendation;
  let out: string;
  beforeAll(async () => {
    out = join(folder, 'whole');
    whole = await recommend(input, base, settings, out);
  }, 120_000);

  it('accounts for every chain of its scenario', () => {
    const ids = [...whole.tried.slice(1), ...whole.left].map(({ id }) => id).sort();
    expect(ids).toEqual(['int8', 'int8+distil', 'minifloat11', 'prune60+distil+int8', 'prune60+int8', 'prune75', 'prune75+distil+int8', 'prune75+int8', 'w46', 'w46+distil']);
    expect(whole.tried[0]).toMatchObject({ id: 'original', drop: 0, steps: [], misses: [] });
    expect(whole.tried.map(({ id }) => id)).toEqual(expect.arrayContaining(['int8', 'minifloat11']));
    for (const { why, state } of whole.left) expect([why.length > 0, ['failed', 'eliminated', 'untried'].includes(state)]).toEqual([true, true]);
    expect(whole.left.find(({ id }) => id === 'int8+distil')).toMatchObject({ state: 'eliminated' });
  });

  it('lists on the front exactly what nothing dominates', () => {
    for (const point of whole.tried) expect(point.on_front).toBe(!whole.tried.some((other) => dominates(other, point)));
  });

  it('recommends what fits with the fewest instructions, and confirms it on other samples', () => {
    const chosen = whole.tried.find(({ id }) => id === whole.recommended);
    expect(whole).toMatchObject({ passed: true, nearest: null, unit: 'M instructions on a72', confirming_samples: 5, judged_samples: 5, used_samples: 20, judged_by: 'cosine' });
    expect([chosen?.on_front, chosen?.misses]).toEqual([true, []]);
    for (const { cost, misses } of whole.tried) if (misses.length === 0) expect(chosen?.cost).toBeLessThanOrEqual(1.03 * cost);
    expect(whole.confirmed?.drop).toBeGreaterThanOrEqual(0);
    expect(whole.measured.every(({ source }) => source.length > 0)).toBe(true);
  });

  it('counts instructions by the formats of the file, and no energy of a core that nobody calibrated', () => {
    const [original, int8] = ['original', 'int8'].map((id) => whole.tried.find((point) => point.id === id));
    expect(original?.cost).toBeCloseTo(instructionsFor('a72', 'float32', original?.macs ?? 0) / 1e6, 3);
    expect(int8?.cost).toBeCloseTo((instructionsFor('a72', 'float32', int8?.float_macs ?? 0) + instructionsFor('a72', 'int8', (int8?.macs ?? 0) - (int8?.float_macs ?? 0))) / 1e6, 3);
    expect([original?.mj, int8?.kb]).toEqual([null, expect.any(Number)]);
    expect(int8?.memory_kb).toBeLessThan(original?.memory_kb ?? 0);
  });

  it('answers for other bounds from what it knows, and says what misses them', async () => {
    const impossible = await recommend(input, base, { ...settings, bounds: { maxDrop: 1e-6, cost: 1e-3 } }, out);
    expect(impossible).toMatchObject({ passed: false, recommended: null, model: null, lab: null });
    expect(impossible.resumed).toBeGreaterThanOrEqual(whole.tried.length - 1);
    const nearest = impossible.tried.find(({ id }) => id === impossible.nearest);
    expect(nearest?.misses.length).toBeGreaterThan(0);
    expect([existsSync(join(out, 'model.onnx')), existsSync(join(out, 'lab.yaml'))]).toEqual([false, false]);
    const again = await recommend(input, base, settings, out);
    expect(comparable(again)).toEqual(comparable(whole));
    expect(again.spent_seconds).toBeGreaterThan(whole.spent_seconds);
  }, 60_000);

  it('recommends the model as it is where nothing else fits', async () => {
    const report = await recommend(input, base, { ...settings, budgetSeconds: 1e-6 }, join(folder, 'nothing'));
    expect(report).toMatchObject({ passed: true, recommended: 'original', lab: null });
    expect(report.left.every(({ state }) => state === 'untried')).toBe(true);
    expect(Buffer.compare(await readFile(report.model ?? ''), bytes)).toBe(0);
  });

  it('stops a step when the budget ends, and goes on there with a larger one', async () => {
    const own = join(folder, 'budget');
    let now = 0;
    const stopped = await recommend(input, base, { ...settings, budgetSeconds: 10, clock: () => now, onStage: (stage) => { if (stage.startsWith('prune75: step 1')) now = 20; } }, own);
    expect(stopped.left.find(({ id }) => id === 'prune75')).toMatchObject({ state: 'untried', why: expect.stringMatching(/stopped when the budget ended, in step 1 of 1, prune/) as string });
    expect(stopped.left.find(({ id }) => id === 'prune60+int8')).toMatchObject({ state: 'untried' });
    const finished = await recommend(input, base, settings, own);
    expect(comparable({ ...finished, model: whole.model, lab: whole.lab, plot: whole.plot })).toEqual(comparable(whole));
  }, 60_000);

  it('refuses the folder of other samples, and one that is damaged', async () => {
    await expect(recommend({ ...input, samples: feeds(2, 25) }, base, settings, out)).rejects.toThrow(refusal(/belongs to another model, other samples, another target or other settings/));
    const own = join(folder, 'damaged');
    await mkdir(own);
    await writeFile(join(own, 'progress.json'), '{');
    await expect(recommend(input, base, settings, own)).rejects.toThrow(refusal(/damaged/));
  });

  it('says what a method refuses, and goes on with the others', async () => {
    // Channels of this network cannot be removed: they reach the output.
    const small: ModelSpec = { inputs: { x: [1, 3, 10, 10] }, outputs: ['y'], constants: { a: weights(1, 24, 3, 3, 3) }, nodes: [node('Conv', ['x', 'a'], ['y'])] };
    const report = await recommend({ ...input, bytes: modelBytes(small) }, base, settings, join(folder, 'small'));
    expect(report.left.find(({ id }) => id === 'prune75')).toMatchObject({ state: 'failed', why: expect.stringMatching(/E_LAB: The model has no channels that can be removed/) as string });
    expect(report.left.find(({ id }) => id === 'prune75+int8')).toMatchObject({ state: 'eliminated', why: 'it begins with prune75, which failed' });
    expect(report.tried.map(({ id }) => id)).toContain('int8');
  }, 60_000);

  it('is a command whose lab.yaml makes the same bytes, and which goes on after kill -9', async () => {
    const [killed, again] = [join(folder, 'killed'), join(folder, 'again')];
    const words = ['lab', 'recommend', join(folder, 'net.onnx'), '--scenario', 'low-memory', '--calibrate', 'random:30', '--max-drop', '0.3', '--steps', '4', '--budget-minutes', '5'];
    const child = spawn(process.execPath, [main, ...words, '-o', killed], { stdio: 'ignore' });
    const ended = new Promise<NodeJS.Signals | null>((resolve) => child.once('exit', (_, signal) => resolve(signal)));
    while (!existsSync(join(killed, 'chains')) && child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 20));
    child.kill('SIGKILL');
    expect(await ended).toBe('SIGKILL');
    const { code, out: text, err } = await captureCli([...words, '-o', killed]);
    expect([code, err.includes('E_')]).toEqual([0, false]);
    for (const part of [/chain +drop +ms +kB +memory kB +mJ +front/, /recommended: /, /on 6 samples that nothing was chosen by/, /modeled: CPU time/, /\|.*A/]) expect(text).toMatch(part);
    const report = JSON.parse(await readFile(join(killed, 'recommend.json'), 'utf8')) as Recommendation;
    expect(report.tried.find(({ id }) => id === report.recommended)?.steps.length).toBeGreaterThan(0);
    expect(await readFile(join(killed, 'front.svg'), 'utf8')).toMatch(/^<svg .*<title>chosen<\/title>/s);
    const chain = await captureCli(['lab', 'chain', join(killed, 'lab.yaml'), '-o', again]);
    expect([chain.code, chain.err.includes('E_')]).toEqual([0, false]);
    expect(Buffer.compare(await readFile(join(again, 'model.onnx')), await readFile(join(killed, 'model.onnx')))).toBe(0);
  }, 180_000);

  it('exits with 1 and names the bound when nothing fits', async () => {
    const words = ['lab', 'recommend', join(folder, 'net.onnx'), '--scenario', 'face', '--calibrate', 'random:30', '--memory-kb', '1', '--budget-minutes', '0.00001', '-o', join(folder, 'tight')];
    const { code, out: text } = await captureCli(words);
    expect(code).toBe(1);
    expect(text).toMatch(/FAILED: nothing that was tried fits. original comes nearest: the memory is [\d.]+ kB instead of 1 kB \(\d+ % over\)/);
    const json = await captureCli(['--json', ...words]);
    expect([json.code, (JSON.parse(json.out) as Recommendation).passed]).toEqual([1, false]);
  });
});
