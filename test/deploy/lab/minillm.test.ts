/** Distillation of character transformers, on a text that the test writes: gradients against exact ones, what it reaches, equal bits, and what is refused. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { labConfig, type TextConfig } from '../../../deploy/lab/config.js';
import { policyFeeds, policyInputs, policyLoss, returnsOf } from '../../../deploy/lab/language/minillm.js';
import { runText, type TextReport } from '../../../deploy/lab/language/run.js';
import { drawSamples, drawnOf, logSoftmax, qualityOf, type Predictor, type Samples } from '../../../deploy/lab/language/sampling.js';
import { tokensTensor } from '../../../deploy/lab/language/text.js';
import { buildTransformer } from '../../../deploy/lab/language/transformer.js';
import { runLab } from '../../../deploy/lab/run.js';
import { trainingModel } from '../../../deploy/lab/training-model.js';
import { openOnnxRuntime } from '../../../runtime/engines/onnxruntime.js';
import { constantsToInputs } from '../../../runtime/gradients/differentiate.js';
import { graphToOnnx } from '../../../runtime/graph/export.js';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { serializeModel } from '../../../runtime/onnx/serialize.js';
import type { Tensor } from '../../../runtime/tensor.js';
import { oracleMissing } from '../../runtime/support/oracle.js';
import { random } from '../../runtime/support/random.js';
import { temporaryFolder } from '../../support/folder.js';
import { captureCli } from '../cli/capture.js';

const settings = { teacher_share: 0, importance: true, single_step: true, length_normalization: false, baseline: false };

/** Samples of two characters; the logarithms are those of distributions that random numbers give. */
function madeSamples(rows: number, context: number, prompt: number, characters = 3): Samples {
  const next = random(5);
  const size = { rows, context, prompt, characters };
  const logs = (): Float32Array => {
    const all = new Float32Array(rows * drawnOf(size) * characters);
    const logits = Float32Array.from(all, () => 2 * next());
    for (let at = 0; at < all.length; at += characters) logSoftmax(logits, at, all.subarray(at, at + characters));
    return all;
  };
  return { ...size, tokens: Int32Array.from({ length: rows * (context + 1) }, () => Math.floor(characters * next())), student: logs(), teacher: logs() };
}

describe('returns of MiniLLM', () => {
  const samples = madeSamples(3, 4, 2);
  const reward = (row: number, k: number): number => {
    const at = (row * 3 + k) * 3 + (samples.tokens[row * 5 + 2 + k] ?? 0);
    return (samples.teacher[at] ?? 0) - (samples.student[at] ?? 0);
  };

  it('are what follows a character, by its length if so set', () => {
    const later = reward(1, 1) + reward(1, 2);
    expect([...returnsOf(samples, settings).slice(3, 6)]).toEqual([later, reward(1, 2), 0].map((value) => expect.closeTo(value, 6) as number));
    expect([...returnsOf(samples, { ...settings, length_normalization: true }).slice(3, 6)]).toEqual([later / 2, reward(1, 2), 0].map((value) => expect.closeTo(value, 6) as number));
    expect(returnsOf(samples, { ...settings, single_step: false, length_normalization: true })[3]).toBeCloseTo((reward(1, 0) + later) / 3, 6);
  });

  it('lose the mean of the other samples at their place', () => {
    const [plain, less] = [returnsOf(samples, settings), returnsOf(samples, { ...settings, baseline: true })];
    expect(less[3]).toBeCloseTo((plain[3] ?? 0) - ((plain[0] ?? 0) + (plain[6] ?? 0)) / 2, 6);
  });

  it('are weighed by the student over the mix that drew the character', () => {
    const feeds = policyFeeds(samples, { ...settings, teacher_share: 0.2 });
    const at = 3 * 3 + (samples.tokens[5 + 2] ?? 0);
    const [q, p] = [Math.exp(samples.student[at] ?? 0), Math.exp(samples.teacher[at] ?? 0)];
    expect(feeds['lab.weight']?.data[3]).toBeCloseTo(q / (0.2 * p + 0.8 * q) / 9, 6);
    expect(policyFeeds(samples, { ...settings, teacher_share: 0.2, importance: false })['lab.weight']?.data[3]).toBeCloseTo(1 / 9, 6);
    expect(policyFeeds(samples, { ...settings, single_step: false })['lab.weight']?.data[3]).toBe(0);
  });
});

describe('samples', () => {
  const fixed = (logits: readonly number[]): Predictor => ({ dims }) => Promise.resolve(Float32Array.from({ length: (dims[0] ?? 0) * (dims[1] ?? 0) * logits.length }, (_, i) => logits[i % logits.length] ?? 0));
  const probabilities = (...values: number[]) => fixed(values.map(Math.log));
  const size = { rows: 50, context: 40, prompt: 1, characters: 3 };

  it('are drawn from the mix of teacher and student', async () => {
    const draw = (teacherShare: number) => drawSamples({ student: probabilities(0.6, 0.3, 0.1), teacher: probabilities(0.1, 0.1, 0.8), teacherShare }, size, Array.from({ length: 50 }, () => Int32Array.of(0)), random(3));
    for (const [share, last] of [[0, 0.1], [0.5, 0.45]] as const) {
      const { tokens } = await draw(share);
      const drawn = [...tokens].filter((_, i) => i % 41 > 0);
      expect(drawn.filter((token) => token === 2).length / drawn.length).toBeCloseTo(last, 1);
    }
    expect((await draw(0.2)).tokens).toEqual((await draw(0.2)).tokens);
  });

  it('are judged by the divergence from the teacher, its likelihood and their entropy', async () => {
    const quality = qualityOf([await drawSamples({ student: probabilities(0.5, 0.5, 1e-9), teacher: probabilities(0.25, 0.25, 0.5), teacherShare: 0 }, size, Array.from({ length: 50 }, () => Int32Array.of(0)), random(3))]);
    expect(quality).toEqual({ reverse_kl: expect.closeTo(Math.log(2), 4) as number, teacher_log_likelihood: expect.closeTo(Math.log(0.25), 4) as number, entropy: expect.closeTo(Math.log(2), 4) as number });
  });
});

/** All passages of two characters after a prompt, in a vocabulary of three. */
const passages = Array.from({ length: 9 }, (_, i) => [1, Math.floor(i / 3), i % 3]);
const tiny = { vocabulary: 3, width: 4, layers: 1, heads: 1, context: 2 };
const size = { rows: 9, context: 2, prompt: 1, characters: 3 };

/** A student whose passages are all known, so that what samples estimate can be summed. */
async function openKnown() {
  const graph = inferShapes(graphFromOnnx(parseModel(buildTransformer({ ...tiny, seed: 8 })), { shapes: { tokens: [9, 2] } }));
  const training = trainingModel(graph, { inputs: policyInputs(size), loss: (m) => policyLoss(m, 'logits', size) });
  const plain = await openOnnxRuntime(serializeModel(graphToOnnx(constantsToInputs(graph, [...training.weights.keys()]))));
  const step = await openOnnxRuntime(training.bytes);
  const judge = await openOnnxRuntime(buildTransformer({ ...tiny, seed: 9 }), { shapes: { tokens: [9, 2] } });
  const tokens = tokensTensor(passages.flatMap((passage) => passage.slice(0, 2)), [9, 2]);
  const logsOf = ({ logits }: Readonly<Record<string, Tensor>>): Float32Array => {
    const logs = new Float32Array(54);
    for (let at = 0; at < logs.length; at += 3) logSoftmax(logits?.data as Float32Array, at, logs.subarray(at, at + 3));
    return logs;
  };
  const teacher = logsOf(await judge.run({ tokens }));
  const whole = (logs: Float32Array, row: number): number => [0, 1].reduce((sum, k) => sum + (logs[(row * 2 + k) * 3 + (passages[row]?.[k + 1] ?? 0)] ?? 0), 0);
  const samplesOf = async (weights: Readonly<Record<string, Tensor>>): Promise<Samples> => ({ ...size, tokens: Int32Array.from(passages.flat()), student: logsOf(await plain.run({ tokens, ...weights })), teacher });
  return {
    training,
    divergence: async (weights: Readonly<Record<string, Tensor>>): Promise<number> => {
      const { student } = await samplesOf(weights);
      return passages.reduce((sum, _, row) => sum + Math.exp(whole(student, row)) * (whole(student, row) - whole(teacher, row)), 0);
    },
    /** The gradients of all passages, each as often as the student writes it. */
    gradients: async (weights: Readonly<Record<string, Tensor>>, single: boolean) => {
      const samples = await samplesOf(weights);
      const feeds = policyFeeds(samples, { ...settings, single_step: single });
      for (const name of ['lab.weight', 'lab.credit']) {
        const data = feeds[name]?.data as Float32Array;
        for (let i = 0; i < data.length; i++) data[i] = 18 * (data[i] ?? 0) * Math.exp(whole(samples.student, Math.floor((9 * i) / data.length)));
      }
      return step.run({ tokens, ...weights, ...feeds });
    },
    close: () => Promise.all([plain, step, judge].map((session) => session.close())),
  };
}

const student = { kind: 'transformer', width: 8, layers: 1, heads: 2 };
const sentence = 'the quick brown fox jumps over the lazy dog; ';

describe.skipIf(oracleMissing !== undefined)(`a student of a teacher of text${oracleMissing === undefined ? '' : ` (${oracleMissing})`}`, () => {
  let [folder, file, teacher] = ['', '', ''];
  const configOf = (more: Readonly<Record<string, unknown>>): TextConfig =>
    labConfig.parse({ model: { student }, data: { kind: 'text', file, context: 12 }, loss: { kind: 'cross-entropy' }, rate: 0.01, steps: 12, batch: 4, average: 0.5, checkpoint_steps: 5, seed: 2, ...more }) as TextConfig;
  const distilled = (more: Readonly<Record<string, unknown>>, out = temporaryFolder(), rest = {}): Promise<TextReport> => runText(configOf({ teacher: { model: teacher, ...more }, ...rest }), out);

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sterna-minillm-'));
    [file, teacher] = [join(folder, 'text.txt'), join(folder, 'teacher', 'model.onnx')];
    await writeFile(file, sentence.repeat(40));
    await runText(configOf({ model: { student: { ...student, width: 16 } }, steps: 150, batch: 8 }), join(folder, 'teacher'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it.each([['the exact term at each character', true], ['returns alone', false]])('follows the gradient of the divergence of whole passages, by %s', async (_, single) => {
    const known = await openKnown();
    try {
      const next = random(6);
      const { weights, gradients } = known.training;
      const directions = new Map([...weights].map(([name, { data }]) => [name, Float32Array.from(data as Float32Array, () => next() - 0.5)]));
      const moved = (by: number) => Object.fromEntries([...weights].map(([name, { dims, data }]) => [name, { type: 'float32', dims, data: Float32Array.from(data as Float32Array, (w, i) => w + by * (directions.get(name)?.[i] ?? 0)) } as const]));
      const slope = ((await known.divergence(moved(0.001))) - (await known.divergence(moved(-0.001)))) / 0.002;
      const outputs = await known.gradients(moved(0), single);
      let sum = 0;
      for (const [name, output] of gradients) (outputs[output]?.data as Float32Array).forEach((g, i) => { sum += g * (directions.get(name)?.[i] ?? 0); });
      expect(Math.abs(slope)).toBeGreaterThan(0.01);
      expect(Math.abs(sum / slope - 1)).toBeLessThan(0.01);
    } finally {
      await known.close();
    }
  });

  it.each([['soft targets', {}], ['its own passages', { method: 'minillm' }], ['its own passages alone', { method: 'minillm', text_weight: 0, samples: 6, prompt: 12 }]])('comes closer to the teacher by %s', async (_, method) => {
    const [few, many] = [await distilled(method, undefined, { steps: 1 }), await distilled(method, undefined, { steps: 60 })];
    expect(many.samples?.reverse_kl).toBeLessThan(0.95 * (few.samples?.reverse_kl ?? 0));
    expect(many.samples?.teacher_log_likelihood).toBeGreaterThan(few.samples?.teacher_log_likelihood ?? 0);
  });

  it('that is interrupted goes on to the same bits, but not with another teacher', async () => {
    const [whole, broken] = [temporaryFolder(), temporaryFolder()];
    const given = { teacher: { method: 'minillm', model: join(folder, 'own.onnx') } };
    await writeFile(given.teacher.model, await readFile(teacher));
    await runText(configOf(given), whole);
    await expect(runText(configOf(given), broken, { onStep: (step) => { if (step === 8) throw new Error('power cut'); } })).rejects.toThrow('power cut');
    await runText(configOf(given), broken);
    expect((await readFile(join(broken, 'model.onnx'))).equals(await readFile(join(whole, 'model.onnx')))).toBe(true);
    await writeFile(given.teacher.model, await readFile(join(whole, 'model.onnx')));
    await expect(runText(configOf(given), broken)).rejects.toMatchObject({ code: 'E_LAB', message: expect.stringContaining('another configuration') as string });
  });

  it('is trained by sterna lab distil, which tells what the teacher thinks of it', async () => {
    const path = join(temporaryFolder(), 'lab.yaml');
    await writeFile(path, JSON.stringify(configOf({ steps: 2, teacher: { method: 'minillm', model: teacher } })));
    const { code, out } = await captureCli(['lab', 'distil', path, '-o', temporaryFolder()]);
    expect([code, out]).toEqual([0, expect.stringMatching(/reverse KL to the teacher \d+\.\d+, log-likelihood under the teacher -\d+\.\d+/) as string]);
  });

  it('is refused with a prompt that is too long, and with a teacher of other characters or none', async () => {
    const model = join(folder, 'other.onnx');
    await expect(distilled({ method: 'minillm', prompt: 13 })).rejects.toMatchObject({ code: 'E_USAGE', message: 'teacher.prompt: expected at most the context of 12 but received 13' });
    await writeFile(model, buildTransformer({ vocabulary: 9, width: 8, layers: 1, heads: 1, context: 12, seed: 1 }));
    await expect(distilled({ model })).rejects.toMatchObject({ code: 'E_LAB', message: expect.stringContaining('makes 108 logits; expected 12 x 28') as string });
    const other = join(folder, 'other.txt');
    await writeFile(other, sentence.replace('quick', 'QUICK').repeat(40));
    await expect(distilled({}, undefined, { data: { kind: 'text', file: other, context: 12 } })).rejects.toMatchObject({ code: 'E_LAB', message: expect.stringMatching(/was trained on a text of 28 other characters/) as string });
    await expect(distilled({ model: '/nowhere/teacher.onnx' })).rejects.toMatchObject({ code: 'E_FILE' });
    const clips = labConfig.parse({ model: { student: {} }, data: { kind: 'clips', folder }, teacher: { method: 'minillm', model: teacher } });
    await expect(runLab(clips, temporaryFolder())).rejects.toMatchObject({ code: 'E_USAGE', message: expect.stringContaining('minillm is for data of kind text') as string });
  });
});
