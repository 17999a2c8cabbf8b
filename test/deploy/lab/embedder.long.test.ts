/** Embedders: the losses against their formulas, and runs on faces that the test synthesizes. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseLabConfig, type FacesConfig } from '../../../deploy/lab/config.js';
import { buildEmbedder } from '../../../deploy/lab/embedder/architecture.js';
import { varied } from '../../../deploy/lab/embedder/augment.js';
import { runFaces } from '../../../deploy/lab/embedder/run.js';
import { crossPairsOf, pairsOf, verify } from '../../../deploy/lab/embedder/verification.js';
import { arcFaceMethod } from '../../../deploy/lab/methods/arcface.js';
import type { EmbeddingMethod, LabelledPicture } from '../../../deploy/lab/methods/embedding-method.js';
import { regressionMethod } from '../../../deploy/lab/methods/embedding-regression.js';
import { centresOf, marginDistillationMethod, marginsOf } from '../../../deploy/lab/methods/margin-distillation.js';
import { runText } from '../../../deploy/lab/language/run.js';
import { runLab } from '../../../deploy/lab/run.js';
import { differentiate } from '../../../runtime/gradients/differentiate.js';
import { extendGraph } from '../../../runtime/gradients/extend.js';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import { fromNumbers, toNumbers, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { evaluate } from '../../runtime/gradients/double.js';
import { modelBytes, node } from '../../runtime/support/models.js';
import { nativeMissing } from '../../runtime/support/native.js';
import { oracleMissing } from '../../runtime/support/oracle.js';
import { random } from '../../runtime/support/random.js';
import { temporaryFolder } from '../../support/folder.js';

const size = { batch: 3, dimensions: 4, people: 3 };
const unit = (...values: number[]): Float32Array => Float32Array.from(values, (value) => value / Math.hypot(...values));
const pictures: LabelledPicture[] = [
  { label: 0, taught: unit(1, 0.2, 0, 0) }, { label: 1, taught: unit(0, 1, 0.9, -0.3) }, { label: 2, taught: unit(0.1, 0, -1, 0.2) },
  { label: 0, taught: unit(1, -0.4, 0.3, 0) }, { label: 1, taught: unit(0.1, 1, 0, 0) }, { label: 2, taught: unit(0, 0.3, -1, 0) },
];
const names = ['anna', 'ben', 'cleo'];
/** The last one points away from its person: its angle passes pi with a margin. */
const embeddings = [1.5, 0.3, -0.2, 0.1, 0.2, 0.4, 1.1, -0.6, 0.05, 0.1, 2, -0.3];

const tensorOf = ({ dims, data }: { dims: readonly number[]; data: ArrayLike<number | bigint> }): TensorValue => fromNumbers('float32', dims, Array.from(data, Number));

/** The loss of a method in double precision, and its gradients by the embeddings and by the method's own weights. */
function lossOf(method: EmbeddingMethod, batch: readonly LabelledPicture[], values: readonly number[], weights = method.weights) {
  const bytes = modelBytes({ inputs: { x: [size.batch, size.dimensions] }, outputs: ['y'], nodes: [node('Identity', ['x'], ['y'])] });
  const plain = inferShapes(graphFromOnnx(parseModel(bytes)));
  const graph = extendGraph({ ...plain, constants: new Map([...plain.constants, ...weights]) }, { inputs: method.inputs, write: (m) => ({ loss: m.reshape(method.loss(m, 'y'), []) }) });
  const made = differentiate({ ...graph, outputs: ['loss'] }, { loss: 'loss', wrt: ['x', ...weights.keys()] });
  const feeds = new Map([['x', fromNumbers('float32', [size.batch, size.dimensions], values)], ...Object.entries(method.feeds(batch)).map(([name, tensor]) => [name, tensorOf(tensor as never)] as const)]);
  const [loss, ...gradients] = evaluate(made.graph, feeds, ['loss', ...made.gradients.values()]).map((value) => toNumbers(value));
  return { loss: loss?.[0] ?? NaN, gradients: gradients.map((gradient) => [...gradient]), names: [...made.gradients.keys()] };
}

/** The formula of the paper, with angles. */
function expected(values: readonly number[], classes: readonly ArrayLike<number>[], labels: readonly number[], margins: readonly number[], scale: number): number {
  const losses = labels.map((label, row) => {
    const e = values.slice(row * size.dimensions, (row + 1) * size.dimensions);
    const logits = classes.map((w, j) => {
      const cosine = e.reduce((sum, value, i) => sum + value * (w[i] ?? 0), 0) / Math.hypot(...e) / Math.hypot(...Array.from(w));
      const [theta, margin] = [Math.acos(cosine), margins[row] ?? 0];
      if (j !== label) return scale * cosine;
      return scale * (theta + margin < Math.PI ? Math.cos(theta + margin) : cosine - margin * Math.sin(margin));
    });
    const most = Math.max(...logits);
    return most + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - most), 0)) - (logits[label] ?? 0);
  });
  return losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
}

function expectGradient(gradient: readonly number[], values: readonly number[], of: (values: readonly number[]) => number): void {
  const differences = values.map((value, i) => {
    const moved = (step: number): number => of(values.map((other, j) => (i === j ? value + step : other)));
    return (moved(1e-5) - moved(-1e-5)) / 2e-5;
  });
  const largest = Math.max(...differences.map(Math.abs));
  gradient.forEach((slope, i) => expect(Math.abs(slope - (differences[i] ?? NaN)) / largest).toBeLessThan(1e-4));
}

describe('methods for embedders', () => {
  const batch = pictures.slice(0, 3);
  const labels = [0, 1, 2];

  it('margins grow with the confidence of the teacher, from the least to the most', () => {
    const margins = marginsOf([0.9, 0.45, 0, -0.3], { scale: 64, least: 0.2, most: 0.5 });
    [0.5, 0.35, 0.2, 0.2].forEach((margin, i) => expect(margins[i]).toBeCloseTo(margin, 12));
    expect(marginsOf([-0.2, -0.1], { scale: 64, least: 0.2, most: 0.5 })).toEqual([0.2, 0.2]);
  });

  it('centres are the directions of the means of what the teacher gives for each person', () => {
    const [anna] = centresOf(pictures, names);
    const [a, b] = [pictures[0]?.taught ?? [], pictures[3]?.taught ?? []];
    const sum = Array.from(a, (value, i) => value + (b[i] ?? 0));
    sum.forEach((value, i) => expect(anna?.[i]).toBeCloseTo(value / Math.hypot(...sum), 6));
    const opposite = [{ label: 0, taught: unit(1, 0) }, { label: 0, taught: unit(-1, 0) }];
    expect(() => centresOf(opposite, ['anna'])).toThrow(expect.objectContaining({ code: 'E_LAB', message: expect.stringContaining("of 'anna' have no common direction") as string }));
  });

  it('MarginDistillation is the formula of its paper, and its gradient that of central differences', () => {
    const centres = centresOf(pictures, names);
    const method = marginDistillationMethod(size, { scale: 8, least: 0.2, most: 0.5 }, centres);
    const confidences = batch.map(({ taught }, i) => Array.from(taught ?? []).reduce((sum, value, k) => sum + value * (centres[i]?.[k] ?? 0), 0));
    const margins = confidences.map((confidence) => 0.2 + (0.3 * confidence) / Math.max(...confidences));
    const of = (values: readonly number[]): number => expected(values, centres, labels, margins, 8);
    const { loss, gradients: [gradient = []] } = lossOf(method, batch, embeddings);
    expect(loss).toBeCloseTo(of(embeddings), 5);
    expectGradient(gradient, embeddings, of);
    expect(method.weights.size).toBe(0);
  });

  it('ArcFace is its formula, and moves the people as well as the embeddings', () => {
    const method = arcFaceMethod(size, { scale: 8, margin: 0.5 }, 5);
    const [[name, drawn] = ['', tensorOf({ dims: [0], data: [] })]] = method.weights;
    const flat = [...toNumbers(drawn)];
    const rows = (numbers: readonly number[]): number[][] => labels.map((row) => numbers.slice(row * size.dimensions, (row + 1) * size.dimensions));
    const { loss, gradients: [byEmbeddings = [], byPeople = []], names: wrt } = lossOf(method, batch, embeddings);
    expect(wrt).toEqual(['x', name]);
    expect(loss).toBeCloseTo(expected(embeddings, rows(flat), labels, [0.5, 0.5, 0.5], 8), 6);
    expectGradient(byEmbeddings, embeddings, (values) => expected(values, rows(flat), labels, [0.5, 0.5, 0.5], 8));
    expectGradient(byPeople, flat, (values) => expected(embeddings, rows(values), labels, [0.5, 0.5, 0.5], 8));
  });

  it('regression is zero at the embedding of the teacher, whatever its length, and four opposite to it', () => {
    const at = (factor: number): number => lossOf(regressionMethod(size), batch, batch.flatMap(({ taught }) => Array.from(taught ?? [], (value) => factor * value))).loss;
    expect(at(3)).toBeCloseTo(0, 6);
    expect(at(-0.5)).toBeCloseTo(4, 6);
  });
});

describe('verification', () => {
  it('accepts what lies above all but one in a hundred pairs of two people', () => {
    const other = Array.from({ length: 200 }, (_, i) => i / 200);
    expect(verify({ same: [0.5, 0.98, 0.99, 1], other })).toMatchObject({ threshold: 0.985, accepted: 0.5, same_pairs: 4, other_pairs: 200 });
    expect(verify({ same: [0.3, 0.1], other: [0.2, 0.1] })).toMatchObject({ area: (2 + 0.5) / 4, accepted: 0.5 });
    expect(verify({ same: [], other: [0.1] })).toBeNull();
  });
  it('pairs every two pictures once, and against a gallery every picture with all others', () => {
    const vectors = [unit(1, 0), unit(1, 0.1), unit(0, 1)];
    const people = ['a', 'a', 'b'];
    expect([pairsOf(vectors, people).same.length, pairsOf(vectors, people).other.length]).toEqual([1, 2]);
    expect([crossPairsOf(vectors, vectors, people).same.length, crossPairsOf(vectors, vectors, people).other.length]).toEqual([2, 4]);
  });
});

const side = 16;

/** A grey "face": the person says where two spots and a bar are, the picture shifts and lights them. */
function face(person: number, picture: number): Buffer {
  const next = random(100 * person + picture + 1);
  const [dx, dy, light] = [next(), next(), 20 * next()];
  const spots = [[3 + person * 1.5, 4], [11 - person, 6 + person / 2], [5 + person / 2, 12 - person]] as const;
  const grey = Buffer.from(Array.from({ length: side * side }, (_, at) => {
    const [x, y] = [at % side, Math.floor(at / side)];
    const bright = spots.reduce((sum, [cx, cy]) => sum + 120 * Math.exp(-((x - cx - dx) ** 2 + (y - cy - dy) ** 2) / 5), 0);
    return Math.max(0, Math.min(255, 60 + light + bright + 6 * next()));
  }));
  return Buffer.concat([Buffer.from(`P5\n${side} ${side}\n255\n`), grey]);
}

async function writePeople(folder: string, people: number, count: number): Promise<string> {
  for (let person = 0; person < people; person++) {
    await mkdir(join(folder, `p${person}`), { recursive: true });
    for (let i = 0; i < count; i++) await writeFile(join(folder, `p${person}`, `${i}.pgm`), face(person, i));
  }
  return folder;
}

const config = (folder: string, more: Readonly<Record<string, unknown>> = {}, data: Readonly<Record<string, unknown>> = {}): FacesConfig => parseLabConfig(JSON.stringify({
  model: { student: { kind: 'embedder', width: 0.125, size: side, dimensions: 8 } }, data: { kind: 'faces', folder, test_people: ['p4', 'p5'], ...data }, steps: 12, batch: 8, rate: 0.01, checkpoint_steps: 4, average: 0.5, seed: 3, ...more,
}), 'lab.yaml') as FacesConfig;

const missing = oracleMissing ?? nativeMissing;

describe.skipIf(missing !== undefined)(`an embedder of the lab${missing === undefined ? '' : ` (${missing})`}`, () => {
  let folder = '';
  let teacher = '';
  beforeAll(async () => {
    folder = await writePeople(await mkdtemp(join(tmpdir(), 'sterna-lab-faces-')), 6, 5);
    teacher = join(folder, 'teacher.onnx');
    await writeFile(teacher, buildEmbedder({ size: 16, dimensions: 8, width: 0.125, seed: 9 }));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));
  const distilled = (method: string, more: Readonly<Record<string, unknown>> = {}) => ({ teacher: { method, model: teacher, ...more } });

  it.each([
    ['softmax', { loss: { kind: 'cross-entropy', smoothing: 0 } }],
    ['arcface', { loss: { kind: 'arcface', scale: 8 } }],
  ] as const)('learns people by %s, and leaves nothing of the method in the model', async (_, loss) => {
    const out = temporaryFolder();
    const losses: number[] = [];
    const report = await runFaces(config(folder, { ...loss, steps: 20 }), out, { onStep: (_step, _steps, of) => void losses.push(of) });
    expect(losses.slice(-5).reduce((sum, of) => sum + of, 0)).toBeLessThan(0.7 * losses.slice(0, 5).reduce((sum, of) => sum + of, 0));
    expect(report).toMatchObject({ people: 4, pictures: 20, test_people: 2, test_pictures: 10, teacher_verification: null, verification: { same_pairs: 20, other_pairs: 25 } });
    const model = parseModel(await readFile(join(out, 'model.onnx')));
    expect([...model.graph.initializers.keys()].filter((name) => name.startsWith('lab.'))).toEqual([]);
    expect(model.graph.outputs.map(({ name, dims }) => [name, dims])).toEqual([['embedding', ['batch', 8]]]);
  }, 240_000);

  it('comes near its teacher by regression, and keeps the teacher\'s answers', async () => {
    const out = temporaryFolder();
    const losses: number[] = [];
    const report = await runFaces(config(folder, { ...distilled('regression'), steps: 20 }), out, { onStep: (_step, _steps, of) => void losses.push(of) });
    expect(losses.at(-1)).toBeLessThan(0.5 * (losses[0] ?? 0));
    expect(report.teacher_verification).not.toBeNull();
    expect(report.gallery_verification).toMatchObject({ same_pairs: 40, other_pairs: 50 });
    expect((await readFile(join(out, 'teacher.bin'))).length).toBeGreaterThan(30 * 8 * 4);
  }, 240_000);

  it('with margins of the teacher goes on after a kill to the same bits, and draws its people to the frozen centres', async () => {
    const [whole, broken] = [temporaryFolder(), temporaryFolder()];
    const run = distilled('margin-distillation', { scale: 8 });
    const losses: number[] = [];
    await runFaces(config(folder, run), whole, { onStep: (_step, _steps, of) => void losses.push(of) });
    expect(losses.at(-1)).toBeLessThan(losses[0] ?? 0);
    await expect(runFaces(config(folder, run), broken, { onStep: (step) => { if (step === 7) throw new Error('power cut'); } })).rejects.toThrow('power cut');
    const steps: number[] = [];
    await runFaces(config(folder, run), broken, { onStep: (step) => void steps.push(step) });
    expect(steps[0]).toBe(5);
    expect((await readFile(join(broken, 'model.onnx'))).equals(await readFile(join(whole, 'model.onnx')))).toBe(true);
    // Had the centres been trained, they would be among what a checkpoint keeps.
    expect((await readFile(join(whole, 'checkpoint.bin'))).includes('lab.people')).toBe(false);
  }, 240_000);

  it('is refused a teacher of another length, one that takes no pictures, and one of other data', async () => {
    const other = join(temporaryFolder(), 'other.onnx');
    await writeFile(other, buildEmbedder({ size: 16, dimensions: 16, width: 0.125, seed: 1 }));
    await expect(runFaces(config(folder, { teacher: { method: 'regression', model: other } }), temporaryFolder())).rejects.toMatchObject({ code: 'E_LAB', message: expect.stringMatching(/have 16 dimensions but the student's have 8; set model\.student\.dimensions to 16/) as string });
    await writeFile(other, modelBytes({ inputs: { x: [1, 5] }, outputs: ['y'], nodes: [node('Identity', ['x'], ['y'])] }));
    await expect(runFaces(config(folder, { teacher: { method: 'margin-distillation', model: other } }), temporaryFolder())).rejects.toMatchObject({ code: 'E_LAB', message: expect.stringMatching(/^The teacher takes float32\[1, 5\] and gives \[1, 5\]; expected an embedder/) as string });
    await expect(runFaces(config(folder, { teacher: { model: teacher } }), temporaryFolder())).rejects.toMatchObject({ code: 'E_USAGE', message: expect.stringContaining('soft-targets is for data of kind clips or text; expected regression or margin-distillation') as string });
    const clips = parseLabConfig(JSON.stringify({ model: { student: {} }, data: { kind: 'clips', folder }, ...distilled('regression') }), 'lab.yaml');
    await expect(runLab(clips, temporaryFolder())).rejects.toMatchObject({ code: 'E_USAGE', message: expect.stringContaining('regression is for data of kind faces') as string });
    const text = parseLabConfig(JSON.stringify({ model: { student: { kind: 'transformer' } }, data: { kind: 'text', file: teacher }, ...distilled('regression') }), 'lab.yaml');
    await expect(runText(text as never, temporaryFolder())).rejects.toMatchObject({ code: 'E_USAGE' });
  });

  it('stops at a loss that is no number, and names the step', async () => {
    await expect(runFaces(config(folder, { rate: 1e30, warmup: 0, optimizer: { kind: 'sgd' }, ...distilled('margin-distillation') }), temporaryFolder())).rejects.toMatchObject({ code: 'E_LAB', message: expect.stringMatching(/^Step \d+: the loss is .*the last checkpoint is kept/) as string });
  });

  it('takes names before a dash or a low line for people, and pictures of any size and number', async () => {
    const flat = temporaryFolder();
    for (const [name, person] of [['anna_1', 0], ['anna_2', 0], ['ben-x_1', 1], ['ben-x_2', 1], ['ben-x_3', 1]] as const) await writeFile(join(flat, `${name}.pgm`), face(person, name.length));
    await writeFile(join(flat, 'ben-x_4.pgm'), Buffer.concat([Buffer.from('P5\n9 7\n255\n'), Buffer.alloc(63, 90)]));
    expect(await runFaces(config(flat, { steps: 2 }, { people: 'prefix', test_people: [] }), temporaryFolder())).toMatchObject({ people: 2, pictures: 6, verification: null });
    await writeFile(join(flat, 'cleo.pgm'), face(2, 1));
    await expect(runFaces(config(flat, {}, { people: 'prefix', test_people: [] }), temporaryFolder())).rejects.toMatchObject({ code: 'E_LAB', message: expect.stringContaining('expected a name such as anna_1.jpg') as string });
  });

  it.each([
    ['one person', 1, 3, { test_people: [] }, /at least two people to learn from besides data\.test_people.* found 1/],
    ['a person with one picture', 3, 1, { test_people: [] }, /one picture of 'p0'.*Add pictures, or leave the person out/],
    ['people who are judged on and unknown', 3, 2, { test_people: ['nobody'] }, /data\.test_people: there are no pictures of 'nobody'/],
  ] as const)('is refused for %s', async (_, people, count, data, message) => {
    const some = await writePeople(temporaryFolder(), people, count);
    await expect(runFaces(config(some, {}, data), temporaryFolder())).rejects.toMatchObject({ code: 'E_LAB', message: expect.stringMatching(message) as string });
  });

  it('varies pictures by what it is told, and by nothing else', () => {
    const pixels = Uint8Array.from({ length: 16 * 16 * 3 }, (_, i) => (7 * i) & 255);
    const still = { flip: false, crop: 0, brightness: 0, erase: 0 };
    const square = { width: 16, height: 16 };
    expect(varied(pixels, square, still, random(3))).toEqual(pixels);
    const mirrored = varied(pixels, square, { ...still, flip: true }, () => 0);
    expect([...mirrored.subarray(0, 3)]).toEqual([...pixels.subarray(45, 48)]);
    expect(varied(pixels, square, { ...still, erase: 0.5 }, () => 0.5).filter((level) => level === 127).length).toBeGreaterThanOrEqual(4 * 4 * 3);
    expect(varied(pixels, square, { ...still, brightness: 0.5 }, () => 1)[0]).toBe(0);
  });
});

describe('lab.yaml of faces', () => {
  it.each([
    ['teacher: {method: margin-distillation, model: a, margin_min: 0.5, margin_max: 0.2}', /margin_max: expected at least margin_min/],
    ['teacher: {method: regression, model: a, temperature: 2}', /lab\.yaml: teacher/],
    ['loss: {kind: arcface, margin: 2}', /lab\.yaml: loss\.margin/],
  ])('names the key that is wrong: %s', (text, message) => {
    expect(() => parseLabConfig(`model: m.onnx\ndata: {kind: faces, folder: f}\n${text}`, 'lab.yaml')).toThrow(expect.objectContaining({ code: 'E_USAGE', message: expect.stringMatching(message) as string }));
  });
});
