import { describe, expect, it } from 'vitest';
import { openingBars, summarizeOpenings } from '../../../deploy/bench/opening.js';

describe('openings of a model', () => {
  const rows = [summarizeOpenings('net', [{ ms: [130, 40, 31], cpu_ms: [200, 90, 32] }, { ms: [99, 50, 29], cpu_ms: [210, 80, 30] }])];

  it('are told by the least of all processes: the first, the second, the last', () => {
    expect(rows).toEqual([{ model: 'net', processes: 2, first_ms: 99, second_ms: 40, last_ms: 29, first_cpu_ms: 200, second_cpu_ms: 80, last_cpu_ms: 30 }]);
  });

  it('have bars with ids that stay', () => {
    expect(openingBars(rows).map(({ id, bar, met }) => [id, bar, met])).toEqual([['open.first.net', 100, true], ['open.second.net', 30, false], ['open.warm.net', 30, true]]);
  });
});
