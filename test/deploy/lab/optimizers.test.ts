/** Optimizers, schedules and losses against their definitions. */
import { describe, expect, it } from 'vitest';
import { labelLoss, distillationLoss, type LossSettings } from '../../../deploy/lab/losses.js';
import { adamw, clipNorm, createOptimizer } from '../../../deploy/lab/optimizers.js';
import { rateShare } from '../../../deploy/lab/schedules.js';
import { extendGraph } from '../../../runtime/gradients/extend.js';
import type { Calculus } from '../../../runtime/gradients/rule.js';
import type { Graph } from '../../../runtime/graph/graph.js';
import { interpret } from '../../../runtime/infer/interpret.js';
import { floats } from '../../runtime/support/models.js';

const one = (value: number): Map<string, Float32Array> => new Map([['w', Float32Array.of(value)]]);
const shapes = new Map([['w', [1, 1]]]);

describe('optimizers', () => {
  it('SGD keeps a share of its velocity, and decays', () => {
    const [weights, sgd] = [one(1), createOptimizer({ kind: 'sgd', momentum: 0.5, decay: 0.1 }, shapes)];
    sgd.step(weights, one(2), 0.1, 1);
    expect(weights.get('w')?.[0]).toBeCloseTo(1 - 0.1 * 2.1, 6);
    sgd.step(weights, one(0), 0.1, 2);
    expect(weights.get('w')?.[0]).toBeCloseTo(0.79 - 0.1 * (0.5 * 2.1 + 0.079), 6);
  });

  it('AdamW moves by the rate at first, whatever the size of the gradient, and decays apart from it', () => {
    const [weights, adam] = [one(1), createOptimizer({ kind: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 0.5 }, shapes)];
    adam.step(weights, one(1000), 0.01, 1);
    expect(weights.get('w')?.[0]).toBeCloseTo(1 * (1 - 0.005) - 0.01, 5);
  });

  it('AdamW finds the least of a parabola, with a rate that rises and falls', () => {
    const [weights, adam] = [one(3), createOptimizer({ ...adamw, decay: 0 }, shapes)];
    const rateAt = (step: number, steps: number, peak: number): number => peak * rateShare({ kind: 'cosine' }, 0.05, step, steps);
    for (let step = 0; step < 400; step++) adam.step(weights, one(2 * ((weights.get('w')?.[0] ?? 0) - 1)), rateAt(step, 400, 0.05), step + 1);
    expect(weights.get('w')?.[0]).toBeCloseTo(1, 2);
    expect([rateAt(0, 100, 1), rateAt(5, 100, 1), rateAt(100, 100, 1)].map((r) => Math.round(10 * r))).toEqual([2, 10, 0]);
  });

  it('spare vectors the decay', () => {
    const [weights, adam] = [one(1), createOptimizer({ kind: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 0.5 }, new Map([['w', [1]]]))];
    adam.step(weights, one(0), 0.01, 1);
    expect(weights.get('w')?.[0]).toBe(1);
  });

  it('get gradients of a common norm', () => {
    const gradients = new Map([['a', Float32Array.of(3)], ['b', Float32Array.of(4)]]);
    expect(clipNorm(gradients, 1)).toBeCloseTo(5, 6);
    expect([...gradients.values()].map(([g]) => g)).toEqual([expect.closeTo(0.6, 6), expect.closeTo(0.8, 6)]);
    expect(clipNorm(gradients, 10)).toBeCloseTo(1, 6);
  });
});

describe('schedules', () => {
  const curve = (kind: Parameters<typeof rateShare>[0], warmup = 0): number[] => Array.from({ length: 100 }, (_, step) => rateShare(kind, warmup, step, 100));

  it('rise during warm-up and fall to zero along a cosine', () => {
    const rates = curve({ kind: 'cosine' }, 0.1);
    expect(rates.slice(0, 10)).toEqual(Array.from({ length: 10 }, (_, i) => expect.closeTo((i + 1) / 10, 6) as number));
    expect(rates[55]).toBeCloseTo(0.5, 2);
    expect(rates[99]).toBeLessThan(0.001);
  });
  it('restart in cycles that double', () => {
    const rates = curve({ kind: 'restarts', cycles: 2 });
    expect(rates.flatMap((rate, i) => (i > 0 && rate > (rates[i - 1] ?? 0) ? [i] : []))).toEqual([34]);
  });
  it('go up and down in one cycle', () => {
    const rates = curve({ kind: 'one-cycle' });
    expect(rates.indexOf(Math.max(...rates))).toBe(30);
    expect(Math.min(...rates)).toBeGreaterThanOrEqual(0);
  });
  it('may be constant', () => expect(new Set(curve({ kind: 'constant' }))).toEqual(new Set([1])));
});

describe('losses', () => {
  const logits = [[2, -1, 0.5], [0.1, 0.2, -3]] as const;
  const labels = [0, 1] as const;
  const softmax = (row: readonly number[]): number[] => row.map((x) => Math.exp(x) / row.reduce((sum, y) => sum + Math.exp(y), 0));
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const given = logits.map((row, i) => softmax(row)[labels[i] ?? 0] ?? 0);

  function computed(write: (m: Calculus) => string): number {
    const type = { dtype: 'float32', shape: [2, 3] } as const;
    const empty: Graph = { name: '', opset: 17, inputs: ['logits', 'target'], outputs: [], nodes: [], constants: new Map(), types: new Map([['logits', type], ['target', type]]), metadata: new Map() };
    const graph = extendGraph(empty, { write: (m) => ({ loss: write(m) }) });
    const target = labels.flatMap((label) => [0, 1, 2].map((i) => (i === label ? 1 : 0)));
    return Number(interpret(graph, new Map([['logits', floats([2, 3], ...logits.flat())], ['target', floats([2, 3], ...target)]])).get('loss')?.data[0]);
  }

  it.each<[string, LossSettings, number]>([
    ['cross-entropy', { kind: 'cross-entropy' }, mean(given.map((p) => -Math.log(p)))],
    ['cross-entropy with smoothed labels', { kind: 'cross-entropy', smoothing: 0.3 }, mean(logits.map((row, i) => softmax(row).reduce((sum, p, j) => sum - (0.1 + (j === labels[i] ? 0.7 : 0)) * Math.log(p), 0)))],
    ['generalized cross-entropy', { kind: 'gce', q: 0.7 }, mean(given.map((p) => (1 - p ** 0.7) / 0.7))],
    ['symmetric cross-entropy', { kind: 'sce', alpha: 0.1, beta: 1 }, mean(given.map((p) => -0.1 * Math.log(p) + 4 * (1 - p)))],
  ])('%s', (_, settings, wanted) => {
    expect(computed((m) => labelLoss(m, settings, 'logits', 'target'))).toBeCloseTo(wanted, 5);
  });

  it.each(['forward', 'reverse'] as const)('distillation, %s: the divergence at the temperature', (direction) => {
    const [student, teacher] = [logits.map((row) => softmax(row.map((x) => x / 2))), labels.map((label) => softmax([0, 1, 2].map((i) => (i === label ? 0.5 : 0))))];
    const [from, to] = direction === 'forward' ? [teacher, student] : [student, teacher];
    const wanted = 4 * mean(from.map((row, b) => row.reduce((sum, p, i) => sum + p * Math.log(p / (to[b]?.[i] ?? 1)), 0)));
    expect(computed((m) => distillationLoss(m, { temperature: 2, weight: 1, direction }, 'logits', 'target'))).toBeCloseTo(wanted, 5);
  });
});
