import type { Tensor } from '../../runtime/tensor.js';

/** Root mean square of each output over the samples, so that outputs of any size weigh alike; 1 for one that is zero throughout. */
export function rootMeanSquares(answers: readonly Readonly<Record<string, Tensor>>[]): Map<string, number> {
  const sums = new Map<string, { energy: number; count: number }>();
  for (const answer of answers) for (const [name, { data }] of Object.entries(answer)) {
    const sum = sums.get(name) ?? { energy: 0, count: 0 };
    for (let i = 0; i < data.length; i++) sum.energy += Number(data[i]) ** 2;
    sum.count += data.length;
    sums.set(name, sum);
  }
  return new Map([...sums].map(([name, { energy, count }]) => [name, Math.sqrt(energy / Math.max(1, count)) || 1]));
}
