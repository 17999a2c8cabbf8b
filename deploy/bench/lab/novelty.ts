/** The sparse encoder on faces: does it tell new people from those it has learned, and what does it cost beside one whose neurons read all inputs? */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { noise } from '../../../runtime/noise.js';
import { defaultNovelty, NoveltyDetector } from '../../../runtime/novelty/novelty-detector.js';
import { boosted, largest } from '../../../runtime/novelty/spatial-encoder.js';
import { sparseCode, type SparseCode } from '../../../runtime/novelty/sparse-code.js';
import { modelInputs } from '../../../runtime/quantize/prepare/read-model.js';
import { normalize } from '../../../runtime/vision/embedding.js';
import { absentOf, type Absent, type Bar } from '../bars.js';
import { readFaces, type Face } from './faces.js';
import type { LabBenchOptions } from './options.js';
import { answers, areaUnderCurve } from './pruning.js';

const neurons = 1000;
const winners = 10;
const steps = 6000;
/** Pictures of each known person that are learned; the rest judges. */
const learned = 7;

interface Split {
  known: { person: string; vector: Float32Array }[];
  held: { person: string; vector: Float32Array }[];
  strangers: Float32Array[];
}

/** Every third person is a stranger. */
function splitOf(faces: readonly Face[], vectors: readonly Float32Array[], turn: number): Split {
  const people = [...new Set(faces.map(({ person }) => person))];
  const split: Split = { known: [], held: [], strangers: [] };
  people.forEach((person, p) => {
    const own = faces.flatMap((face, i) => (face.person === person ? [{ person, vector: vectors[i] ?? new Float32Array(0) }] : []));
    if (p % 3 === turn) split.strangers.push(...own.map(({ vector }) => vector));
    else own.forEach((picture, i) => (i < learned ? split.known : split.held).push(picture));
  });
  return split;
}

/** Neurons that read all inputs, with the same competition: the baseline. */
class DenseEncoder {
  readonly weights: Float32Array;
  readonly #matches = new Float32Array(neurons);
  readonly #wins = new Float32Array(neurons).fill(winners / neurons);

  constructor(readonly inputs: number, random: () => number) {
    this.weights = Float32Array.from({ length: inputs * neurons }, () => (0.5 + random()) / inputs);
  }

  /** Weights lie input by input, which suits few active inputs best. */
  match({ indices, rates }: SparseCode): Float32Array {
    this.#matches.fill(0);
    indices.forEach((input, k) => {
      const [at, rate] = [input * neurons, rates[k] ?? 0];
      for (let i = 0; i < neurons; i++) this.#matches[i] = (this.#matches[i] ?? 0) + rate * (this.weights[at + i] ?? 0);
    });
    return this.#matches;
  }

  learn(code: SparseCode): void {
    const competing = this.match(code).map((match, i) => boosted(match, (this.#wins[i] ?? 0) * neurons / winners));
    const x = new Float32Array(this.inputs);
    code.indices.forEach((input, k) => { x[input] = code.rates[k] ?? 0; });
    for (let i = 0; i < neurons; i++) this.#wins[i] = Math.max(1e-9, (this.#wins[i] ?? 0) * (1 - 1 / 500));
    for (const neuron of largest(competing, winners)) {
      this.#wins[neuron] = (this.#wins[neuron] ?? 0) + 1 / 500;
      for (let input = 0; input < this.inputs; input++) {
        const at = input * neurons + neuron;
        this.weights[at] = (this.weights[at] ?? 0) + 0.05 * ((x[input] ?? 0) - (this.weights[at] ?? 0));
      }
    }
  }
}

/** Share of the pictures whose winners have most in common with those of a learned picture of the same person. */
function recognized({ known, held }: Split, winnersOf: (vector: Float32Array) => readonly number[]): number {
  const codes = known.map(({ person, vector }) => ({ person, code: new Set(winnersOf(vector)) }));
  const right = held.filter(({ person, vector }) => {
    const code = winnersOf(vector);
    const common = codes.map(({ code: other }) => code.filter((neuron) => other.has(neuron)).length);
    return codes[common.indexOf(Math.max(...common))]?.person === person;
  });
  return 100 * right.length / held.length;
}

function timed(calls: number, work: () => void): number {
  const started = performance.now();
  for (let i = 0; i < calls; i++) work();
  return (performance.now() - started) / calls;
}

function measure(split: Split, dimensions: number) {
  const detector = new NoveltyDetector(dimensions, { ...defaultNovelty, neurons, learnFirst: steps });
  const next = noise(7);
  const random = (): number => next() / 2 ** 32;
  const drawn = Array.from({ length: steps }, () => split.known[Math.floor(random() * split.known.length)]?.vector ?? new Float32Array(dimensions));
  for (const vector of drawn) detector.observe(vector);
  const dense = new DenseEncoder(2 * dimensions, random);
  const codes = new Map(split.known.map(({ vector }) => [vector, sparseCode(vector, Math.round(dimensions / 10))]));
  for (const vector of drawn) dense.learn(codes.get(vector) ?? sparseCode(vector, 1));
  const [probe] = codes.values();
  const area = areaUnderCurve(split.strangers.map((vector) => detector.score(vector)), split.held.map(({ vector }) => detector.score(vector)));
  const turns = Array.from({ length: 7 }, () => ({
    sparse: timed(200, () => void (probe === undefined ? 0 : detector.encoder.resemblance(probe))),
    dense: timed(200, () => void (probe === undefined ? 0 : dense.match(probe))),
  }));
  return {
    area, memory: detector.bytes / dense.weights.byteLength,
    time: Math.min(...turns.map(({ sparse }) => sparse)) / Math.min(...turns.map(({ dense: of }) => of)),
    sparse: recognized(split, (vector) => detector.encode(vector)),
    dense: recognized(split, (vector) => largest(dense.match(sparseCode(vector, Math.round(dimensions / 10))), winners)),
  };
}

export async function noveltyBars({ models, samples, signal }: LabBenchOptions & { models: string; samples: string }): Promise<Bar[] | Absent> {
  const [path, folder] = [join(models, 'fr_feature.onnx'), join(samples, 'orl')];
  const absent = absentOf([path, folder]);
  if (absent !== undefined) return absent;
  const model = await readFile(path);
  const [input] = modelInputs(model);
  const faces = input === undefined ? [] : await readFaces(folder, input);
  const vectors = (await answers(model, faces.map(({ feeds }) => feeds))).map((vector) => normalize(vector) ?? vector);
  const splits = [0, 1, 2].map((turn) => {
    signal.throwIfAborted();
    return measure(splitOf(faces, vectors, turn), vectors[0]?.length ?? 0);
  });
  const mean = (value: (of: (typeof splits)[number]) => number): number => splits.reduce((sum, split) => sum + value(split), 0) / splits.length;
  const [area, memory, time] = [mean((split) => split.area), mean((split) => split.memory), mean((split) => split.time)];
  const recognition = `with codes that recognize ${mean(({ sparse }) => sparse).toFixed(0)} % of known people (dense: ${mean(({ dense }) => dense).toFixed(0)} %)`;
  return [
    { id: 'lab.novelty_auc', what: 'area under the curve, people never seen against known people in other pictures, mean of three splits', value: area, unit: '', bar: '>= 0.95', met: area >= 0.95 },
    { id: 'lab.novelty_memory', what: `memory, share of neurons that read all inputs, ${recognition}`, value: memory, unit: 'x', bar: '<= 0.1', met: memory <= 0.1 },
    { id: 'lab.novelty_time', what: 'time of a match, share of neurons that read all inputs', value: time, unit: 'x', bar: '<= 0.2', met: time <= 0.2 },
  ];
}
