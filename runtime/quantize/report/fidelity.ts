import type { Session } from '../../session.js';
import type { Tensor } from '../../tensor.js';
import type { Feeds } from '../observe/calibrate.js';
import { bestOf, cosineOf, looksLikeScores } from './difference.js';

/** Energy of a value and of the error that quantization made in it. */
interface Noise {
  signal: number;
  noise: number;
}

function addNoise(total: Noise, expected: Tensor | undefined, actual: Tensor | undefined): void {
  if (expected === undefined || actual === undefined) return;
  for (let i = 0; i < expected.data.length; i++) {
    const e = Number(expected.data[i]);
    const difference = Number(actual.data[i]) - e;
    total.signal += e * e;
    total.noise += difference * difference;
  }
}

/** Signal-to-quantization-noise ratio in dB; null when there is no noise, or no signal. */
export function sqnrDb({ signal, noise }: { signal: number; noise: number }): number | null {
  return noise === 0 || signal === 0 ? null : 10 * Math.log10(signal / noise);
}

function cosine(a: Tensor | undefined, b: Tensor | undefined): number {
  if (a === undefined || b === undefined) return NaN;
  let dot = 0;
  let squaresA = 0;
  let squaresB = 0;
  for (let i = 0; i < a.data.length; i++) {
    const x = Number(a.data[i]);
    const y = Number(b.data[i]);
    dot += x * y;
    squaresA += x * x;
    squaresB += y * y;
  }
  return cosineOf(dot, squaresA, squaresB);
}

/**
 * How much of the float model's answer to one sample another model's answer keeps, 0..1; undefined when this sample does not tell.
 * Outputs are by name.
 */
export type Agreement = (expected: Feeds, actual: Feeds) => number | undefined;

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

const only = (names: readonly string[], values: Feeds): Feeds => Object.fromEntries(names.flatMap((name) => (values[name] === undefined ? [] : [[name, values[name]]])));

export interface Fidelity {
  /** By value of the float graph. */
  sqnr: ReadonlyMap<string, number | null>;
  /** Mean over samples and outputs of the cosine between quantized and float output. */
  outputCosine: number;
  /** The lowest of these. */
  lowestCosine: number;
  /** Cosine of the outputs without the mean of the float output over the samples. */
  centredCosine: number;
  /** Mean agreement with the float model, as the user compares answers; null where nobody does, or no sample tells. */
  agreement: number | null;
  /** Share of the samples and of the outputs [1, N] in which the largest value stands at the same place; null without such an output. */
  top1Agreement: number | null;
}

/**
 * Runs float and quantized model side by side and measures, at every value, how much of the signal quantization leaves.
 * The error at a layer includes what the layers before it made.
 * @param models `names`: what carries each value in the quantized model
 */
export async function measureFidelity(
  { float, quantized, names }: { float: Session; quantized: Session; names: ReadonlyMap<string, string> },
  outputs: readonly string[],
  samples: Iterable<Feeds>,
  agreement?: Agreement,
): Promise<Fidelity> {
  const totals = new Map([...names.keys()].map((value): [string, Noise] => [value, { signal: 0, noise: 0 }]));
  const cosines: number[] = [];
  const agreed: boolean[] = [];
  const told: number[] = [];
  const pairs: { expected: Feeds[]; actual: Feeds[] } = { expected: [], actual: [] };
  for (const feeds of samples) {
    const expected = await float.run(feeds);
    const actual = await quantized.run(feeds);
    for (const [value, total] of totals) addNoise(total, expected[value] ?? feeds[value], actual[names.get(value) ?? value]);
    pairs.expected.push(only(outputs, expected));
    pairs.actual.push(only(outputs, actual));
    const share = agreement?.(only(outputs, expected), only(outputs, actual));
    if (share !== undefined) told.push(share);
    for (const output of outputs) {
      const [float, mine] = [expected[output], actual[output]];
      cosines.push(cosine(float, mine));
      if (float !== undefined && mine !== undefined && looksLikeScores(float)) agreed.push(bestOf(float.data) === bestOf(mine.data));
    }
  }
  return {
    sqnr: new Map([...totals].map(([value, total]) => [value, sqnrDb(total)])),
    outputCosine: mean(cosines),
    lowestCosine: Math.min(...cosines),
    centredCosine: centredCosine(pairs.expected, pairs.actual),
    agreement: told.length === 0 ? null : mean(told),
    top1Agreement: agreed.length === 0 ? null : agreed.filter(Boolean).length / agreed.length,
  };
}

/** Outputs of a session for each sample. */
export async function outputsOf(session: Session, samples: readonly Feeds[]): Promise<Feeds[]> {
  const results: Feeds[] = [];
  for (const feeds of samples) results.push(await session.run(feeds));
  return results;
}

/** Mean over samples and outputs of the cosine between what a model puts out and what is expected. */
export function outputCosine(expected: readonly Feeds[], actual: readonly Feeds[]): number {
  return mean(expected.flatMap((outputs, i) => Object.entries(outputs).map(([name, tensor]) => cosine(tensor, actual[i]?.[name]))));
}

/** An output that varies by less, as a share of its energy, does not depend on the sample: what is left is rounding. */
const leastVariation = 1e-10;

/** Sums over samples of one output: what both models put out, each without the mean of the expected output over the samples. */
function centredSums(expected: readonly Feeds[], actual: readonly Feeds[], name: string): { dot: number; squaresA: number; squaresB: number; varies: boolean } {
  const first = expected[0]?.[name]?.data ?? [];
  const means = new Float64Array(first.length);
  for (const outputs of expected) for (let i = 0; i < means.length; i++) means[i] = (means[i] ?? 0) + Number(outputs[name]?.data[i]) / expected.length;
  let [dot, squaresA, squaresB, energy] = [0, 0, 0, 0];
  expected.forEach((outputs, sample) => {
    const [e, a] = [outputs[name]?.data, actual[sample]?.[name]?.data];
    for (let i = 0; i < means.length; i++) {
      const x = Number(e?.[i]) - (means[i] ?? 0);
      const y = Number(a?.[i]) - (means[i] ?? 0);
      dot += x * y;
      squaresA += x * x;
      squaresB += y * y;
      energy += Number(e?.[i]) ** 2;
    }
  });
  return { dot, squaresA, squaresB, varies: squaresA > leastVariation * energy };
}

/**
 * Cosine between what a model puts out and what is expected, each without the mean of what is expected over the samples; mean over the outputs. Most of
 * what a detector puts out is the same for every picture (places of boxes, scores of the background), and hides in a plain cosine what becomes of
 * the rest. Outputs that do not change with the sample are left out; where none does, or there is one sample only, the plain cosine counts.
 */
export function centredCosine(expected: readonly Feeds[], actual: readonly Feeds[]): number {
  const names = Object.keys(expected[0] ?? {});
  const alike = expected.every((outputs, i) => names.every((name) => outputs[name]?.data.length === expected[0]?.[name]?.data.length && actual[i]?.[name]?.data.length === outputs[name]?.data.length));
  const varying = alike ? names.map((name) => centredSums(expected, actual, name)).filter(({ varies }) => varies) : [];
  return varying.length === 0 ? outputCosine(expected, actual) : mean(varying.map(({ dot, squaresA, squaresB }) => cosineOf(dot, squaresA, squaresB)));
}

/** Mean agreement over the samples that tell; the mean cosine of the outputs where none does, or nobody knows what the outputs mean. */
export function meanAgreement(expected: readonly Feeds[], actual: readonly Feeds[], agreement: Agreement | undefined): number {
  const told = agreement === undefined ? [] : expected.map((outputs, i) => agreement(outputs, actual[i] ?? {})).filter((value) => value !== undefined);
  return told.length === 0 ? outputCosine(expected, actual) : mean(told);
}
