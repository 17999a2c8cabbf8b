import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { typeOf, type Graph } from '../../../runtime/graph/graph.js';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import { optimize } from '../../../runtime/optimize/optimize.js';
import { alignBlock, type Block } from '../../../runtime/plan/arena.js';
import { planStorage } from '../../../runtime/plan/storage.js';
import { chooseStrips, findStrips, type StripCandidate } from '../../../runtime/plan/strips.js';
import { invertedResiduals, Network } from '../support/inverted-residuals.js';
import { model, type ModelSpec } from '../support/models.js';

const optimized = (spec: ModelSpec): Graph => optimize(inferShapes(graphFromOnnx(model(spec))));

/** A chain of nodes: value i is written by node i - 1 and read by node i, and for some steps more. Every third node may begin a strip. */
interface Chain {
  readonly blocks: readonly Block[];
  readonly candidates: readonly StripCandidate[];
  readonly steps: number;
}

const chains = fc.array(fc.record({ bytes: fc.integer({ min: 1, max: 20 }).map((lines) => 64 * lines), longer: fc.constantFrom(0, 0, 0, 4), begins: fc.boolean() }), { minLength: 4, maxLength: 16 }).map((values): Chain => {
  const steps = values.length - 1;
  const candidates: StripCandidate[] = [];
  values.forEach(({ begins }, i) => {
    if (begins && i % 3 === 0 && i + 2 < steps) candidates.push({ steps: { first: i, last: i + 2 }, between: [i + 1, i + 2], scratchBytes: 0 });
  });
  const between = new Set(candidates.flatMap((candidate) => candidate.between));
  const blocks = values.map(({ bytes, longer }, i): Block => ({ bytes, life: { first: i - 1, last: Math.min(i + (between.has(i) ? 0 : longer), steps) } }));
  return { blocks, candidates, steps };
});

/** The most that is alive at once when these candidates are strips: nothing between, and all else alive from the first to the last of their steps. */
function peakWith({ blocks, candidates, steps }: Chain, strips: ReadonlySet<StripCandidate>): number {
  let peak = 0;
  for (let step = -1; step <= steps; step++) {
    const strip = candidates.find((candidate) => strips.has(candidate) && candidate.steps.first <= step && step <= candidate.steps.last);
    const [first, last] = strip === undefined ? [step, step] : [strip.steps.first, strip.steps.last];
    const alive = blocks.filter(({ life }, i) => life.first <= last && first <= life.last && strip?.between.includes(i) !== true);
    peak = Math.max(peak, alive.reduce((sum, { bytes }) => sum + alignBlock(bytes), 0));
  }
  return peak;
}

describe('the choice of strips', () => {
  it('gives the smallest peak that any choice gives, and needs each of them for it', () => {
    fc.assert(fc.property(chains, (chain) => {
      const { blocks, candidates, steps } = chain;
      const decisions = chooseStrips(blocks, candidates, steps);
      const chosen = new Set(candidates.filter((_, i) => decisions[i]?.chosen));
      let least = Infinity;
      for (let subset = 0; subset < 1 << candidates.length; subset++) least = Math.min(least, peakWith(chain, new Set(candidates.filter((_, i) => (subset >> i) % 2 === 1))));
      expect(peakWith(chain, chosen)).toBe(least);
      for (const strip of chosen) expect(peakWith(chain, new Set([...chosen].filter((other) => other !== strip)))).toBeGreaterThan(least);
    }), { numRuns: 300 });
  });

  it('does not pay more in scratch than the arena gains', () => {
    const blocks = [1, 6, 6, 1].map((lines, i): Block => ({ bytes: 1024 * lines, life: { first: i - 1, last: i } }));
    const choose = (scratchBytes: number) => chooseStrips(blocks, [{ steps: { first: 0, last: 2 }, between: [1, 2], scratchBytes }], 3);
    expect(choose(2559)).toEqual([{ chosen: true, reason: '2 KiB of activations instead of 12 KiB' }]);
    expect(choose(2560)).toEqual([{ chosen: false, reason: 'the arena would shrink by 10 KiB, but the scratch memory of 4 threads would grow by 10 KiB' }]);
  });
});

describe.each(['float32', 'int8'] as const)('strips of %s', (type) => {
  const block = (build: (net: Network) => void, input: [number, number, number, number] = [1, 8, 20, 20]): { found: string[][]; refused: string[] } => {
    const net = new Network(type, input);
    build(net);
    const graph = optimized(net.build());
    const { groups, refused } = findStrips(graph);
    const channels = (value: string) => String(typeOf(graph, value).shape.at(-1));
    return { found: groups.map(({ nodes }) => nodes.map(({ outputs }) => channels(outputs[0] ?? ''))), refused: [...refused.values()] };
  };
  const depthwise = { kernel: 3, depthwise: true };
  /** Channels of the picture with channels last, which a convolution of floats takes into its strip. */
  const transposed = type === 'float32' ? ['8'] : [];

  it('take the convolution before a depthwise one along', () => {
    expect(block((net) => [net.conv(48), net.conv(48, depthwise), net.conv(16)])).toEqual({ found: [['48', '48', '16']], refused: [] });
    expect(block((net) => [net.conv(48, { kernel: 3, stride: 2 }), net.conv(48, depthwise), net.conv(16)]).found).toEqual([[...transposed, '48', '48', '16']]);
    expect(block((net) => [net.conv(8, depthwise), net.conv(16), net.conv(16, depthwise), net.conv(24)]).found).toEqual([['8', '16'], ['16', '24']]);
  });

  it('leave it out where it cannot work on rows, or somebody else reads it', () => {
    expect(block((net) => [net.conv(48, { stride: 2 }), net.conv(48, depthwise), net.conv(16)]).found).toEqual([['48', '16']]);
    expect(block((net) => {
      const residual = net.conv(48);
      net.conv(48, depthwise);
      net.conv(48, { residual });
    }).found).toEqual([['48', '48']]);
  });

  it('take the transposition before a convolution that slides along', () => {
    const alone = type === 'float32' ? [['8', '48']] : [];
    expect(block((net) => [net.conv(48, { kernel: 3 }), net.conv(16)]).found).toEqual(alone);
    expect(block((net) => [net.conv(48, { kernel: 3 }), net.conv(48, depthwise), net.conv(16, { kernel: 3 })]).found).toEqual(alone);
    expect(block((net) => [net.conv(48, { kernel: 3 }), net.conv(16)], [2, 8, 20, 20]).found).toEqual([]);
    expect(block((net) => [net.conv(48, { kernel: 3 }), net.conv(16)], [1, 1, 20, 20]).found).toEqual([]);
  });

  it('are refused where the layer after is not of the right form, with the reason', () => {
    const refused = ['its output is not read by exactly one 1x1 layer'];
    expect(block((net) => [net.conv(8), net.conv(8, depthwise), net.conv(16, { kernel: 3 })])).toEqual({ found: [], refused });
    expect(block((net) => [net.conv(8), net.conv(8, depthwise), net.conv(16, { stride: 2 })])).toEqual({ found: [], refused });
    expect(block((net) => [net.conv(8), net.conv(8, depthwise), net.conv(16)], [2, 8, 20, 20])).toEqual({ found: [], refused: [] });
  });
});

it('layers that may run on bits are in no strip', () => {
  const find = (first: number, last: number) => {
    const net = new Network('int8', [1, 8, 20, 20]);
    net.conv(48, { largest: first });
    net.conv(48, { kernel: 3, depthwise: true, largest: 1 });
    net.conv(16, { largest: last });
    const { groups, refused } = findStrips(optimized(net.build()));
    return [groups.map(({ nodes }) => nodes.length), [...refused.values()]];
  };
  expect([find(2, 2), find(1, 2), find(2, 1)]).toEqual([[[3], []], [[2], []], [[], ['the next layer may run on bits']]]);
});

describe.each(['float32', 'int8'] as const)('the memory of inverted residuals of %s', (type) => {
  const graph = optimized(invertedResiduals(type, 160));
  const [plain, planned] = [planStorage(graph, { strips: false }), planStorage(graph)];

  it('shrinks by more than the scratch of four threads, and is told', () => {
    const scratch = findStrips(graph).groups.map(({ scratchBytes }) => scratchBytes);
    expect(plain.arenaBytes - planned.arenaBytes).toBeGreaterThan(4 * Math.max(...scratch));
    expect([...planned.stripNotes.values()].filter((note) => /^strip of 3 layers: \d+ KiB of activations instead of \d+ KiB$/.test(note)).length).toBeGreaterThanOrEqual(3);
    expect(plain.stripNotes.size).toBe(0);
  });

  it('has nothing for the maps between, and keeps what a strip reads apart from what it writes', () => {
    const bytes = (value: string) => {
      const { shape, dtype } = typeOf(graph, value);
      return shape.slice(0, -1).reduce((a, b) => a * b, 1) * (planned.placements.get(value)?.pixelStride ?? 0) * (dtype === 'float32' ? 4 : 1);
    };
    const strips = findStrips(graph).groups.filter(({ between }) => between.some((value) => planned.placements.get(value)?.strip === true));
    expect(strips.length).toBeGreaterThanOrEqual(1);
    for (const { nodes, between } of strips) {
      expect(between.map((value) => planned.placements.get(value))).toEqual(between.map(() => expect.objectContaining({ strip: true, offset: 0 })));
      const output = nodes.at(-1)?.outputs[0] ?? '';
      const start = planned.placements.get(output)?.offset ?? 0;
      for (const value of new Set(nodes.flatMap(({ inputs }) => inputs))) {
        const placed = planned.placements.get(value);
        if (placed === undefined || placed.strip) continue;
        expect(placed.offset + bytes(value) <= start || start + bytes(output) <= placed.offset, `${value} and ${output}`).toBe(true);
      }
    }
  });
});
