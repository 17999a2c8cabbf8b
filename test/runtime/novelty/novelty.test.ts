import { describe, expect, it } from 'vitest';
import { noise } from '../../../runtime/noise.js';
import { NoveltyDetector } from '../../../runtime/novelty/novelty-detector.js';
import { ReceptiveFields } from '../../../runtime/novelty/receptive-fields.js';
import { sparseCode } from '../../../runtime/novelty/sparse-code.js';
import { SpatialEncoder } from '../../../runtime/novelty/spatial-encoder.js';
import { needs } from '../../../runtime/novelty/synaptogenesis.js';

const randomOf = (seed: number) => {
  const next = noise(seed);
  return () => next() / 2 ** 32;
};

describe('the code of a vector', () => {
  it('has the largest values, one input for each sign, at length 1', () => {
    const { indices, rates } = sparseCode([0.1, -4, 0, 3], 2);
    expect([...indices]).toEqual([3, 6]);
    expect([...rates].map((rate) => rate.toFixed(2))).toEqual(['0.80', '0.60']);
  });

  it.each([[[0, 0, 0]], [[NaN, 1, 2]], [[Infinity, 1, 2]]])('is empty for %j', (vector) => {
    expect(sparseCode(vector, 3).indices).toHaveLength(0);
  });
});

describe('receptive fields', () => {
  const matchOf = (fields: ReceptiveFields, x: readonly number[]) => {
    const active = x.flatMap((rate, i) => (rate === 0 ? [] : [i]));
    const matches = new Float32Array(fields.neurons);
    fields.match({ indices: Uint16Array.from(active), rates: Float32Array.from(active, (i) => x[i] ?? 0) }, matches);
    return [...matches];
  };
  /** By the definition, neuron by neuron. */
  const plain = (fields: ReceptiveFields, x: readonly number[]) => Array.from({ length: fields.neurons }, (_, neuron) => {
    const { sources, weights } = fields.field(neuron);
    return weights.reduce((sum, weight, slot) => sum + weight * (x[sources[slot] ?? 0] ?? 0), 0);
  });
  const agree = (fields: ReceptiveFields, random: () => number) => {
    const x = Array.from({ length: fields.inputs }, () => (random() < 0.3 ? random() : 0));
    matchOf(fields, x).forEach((match, neuron) => expect(match).toBeCloseTo(plain(fields, x)[neuron] ?? NaN, 5));
  };

  it('match by input what they match neuron by neuron, when born, pruned and rewired', () => {
    const random = randomOf(3);
    const fields = new ReceptiveFields({ inputs: 40, neurons: 30, size: 16 }, random);
    agree(fields, random);
    const norms = Array.from({ length: 30 }, (_, neuron) => fields.norm(neuron));
    fields.shrink(5, (weights, size) => Array.from(weights, (_, slot) => slot).sort((a, b) => (weights[b] ?? 0) - (weights[a] ?? 0)).slice(0, size));
    expect(fields.size).toBe(5);
    norms.forEach((norm, neuron) => expect(Math.hypot(...fields.field(neuron).weights)).toBeCloseTo(norm, 5));
    agree(fields, random);
    const unread = Array.from({ length: 40 }, (_, i) => i).find((i) => !fields.field(7).sources.includes(i)) ?? NaN;
    fields.rewire(7, 2, unread);
    expect(fields.field(7).sources[2]).toBe(unread);
    agree(fields, random);
  });

  it('read every input at most once', () => {
    const fields = new ReceptiveFields({ inputs: 20, neurons: 50, size: 20 }, randomOf(1));
    for (let neuron = 0; neuron < 50; neuron++) expect(new Set(fields.field(neuron).sources).size).toBe(20);
  });

  it('refuse sizes that their numbers cannot hold', () => {
    expect(() => new ReceptiveFields({ inputs: 1000, neurons: 10, size: 257 }, randomOf(1))).toThrow(RangeError);
  });
});

describe('the need of a synapse', () => {
  it('is high where inputs are never active, and where they are and the neuron never wins', () => {
    const supply = Float32Array.from({ length: 1000 }, (_, i) => (i === 0 ? 1e-4 : 1));
    const rates = Float32Array.from({ length: 1000 }, (_, i) => (i === 1 ? 1e-4 : i === 0 ? 1e-4 : 1));
    const [dead, silent, usual] = needs(supply, rates);
    expect(dead).toBe(1);
    expect(silent).toBe(1);
    expect(usual).toBe(0);
  });
});

/** Directions of some things, and sights of them: near them, and never twice the same. */
function world(seed: number, count: number) {
  const random = randomOf(seed);
  const gauss = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const things = Array.from({ length: count }, () => Float32Array.from({ length: 128 }, gauss));
  return { random, sight: (thing: number) => (things[thing] ?? new Float32Array(0)).map((value) => value + 0.4 * gauss()) };
}

describe('novelty', () => {
  const options = { neurons: 200, learnFirst: 1500, deviations: 3, seed: 1 };

  it('tells things that it has never seen, and learns what it sees often', () => {
    const { random, sight } = world(5, 12);
    const detector = new NoveltyDetector(128, options);
    for (let i = 0; i < 2500; i++) detector.observe(sight(Math.floor(10 * random())));
    expect(Array.from({ length: 10 }, (_, thing) => detector.score(sight(thing)) < detector.score(sight(10)))).not.toContain(false);
    expect(detector.observe(sight(10)).novel).toBe(true);
    for (let i = 0; i < 800; i++) detector.observe(sight(Math.floor(11 * random())));
    expect(detector.observe(sight(10)).novel).toBe(false);
    expect(detector.observe(sight(11)).novel).toBe(true);
  });

  it('calls nothing novel before it has learned, nor what holds a NaN', () => {
    const { sight } = world(6, 2);
    const detector = new NoveltyDetector(128, options);
    for (let i = 0; i < 1500; i++) expect(detector.observe(sight(i % 2)).novel).toBe(false);
    expect(detector.observe(Float32Array.from({ length: 128 }, () => NaN))).toEqual({ score: 0, novel: false });
  });

  it('is the same for the same vectors', () => {
    const scores = [1, 2].map(() => {
      const { random, sight } = world(7, 4);
      const detector = new NoveltyDetector(128, options);
      return Array.from({ length: 1700 }, () => detector.observe(sight(Math.floor(4 * random()))).score);
    });
    expect(scores[0]).toEqual(scores[1]);
  });
});

describe('the encoder', () => {
  it('shrinks its fields in stages, keeps its memory afterwards, and does not leave all wins to a few neurons', () => {
    const { random, sight } = world(8, 20);
    const encoder = new SpatialEncoder({ inputs: 256, neurons: 200, winners: 4, newbornField: 64, field: 10, stages: 6, stageSteps: 100, learningRate: 0.05, random });
    const won = new Set<number>();
    const sizes: number[] = [];
    for (let i = 0; i < 1500; i++) {
      const code = sparseCode(sight(Math.floor(20 * random())), 13);
      encoder.learn(code);
      if (i > 700) for (const neuron of encoder.encode(code)) won.add(neuron);
      if (i % 100 === 99) sizes.push(encoder.fieldSize);
    }
    expect(sizes.slice(0, 6)).toEqual([47, 34, 25, 19, 14, 10]);
    expect(new Set(sizes.slice(6))).toEqual(new Set([10]));
    expect(encoder.bytes).toBeLessThan(200 * 10 * 9 + 256 * 12 + 200 * 16 + 100);
    expect(won.size).toBeGreaterThan(40);
  });
});
