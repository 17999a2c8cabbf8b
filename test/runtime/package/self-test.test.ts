import { describe, expect, it } from 'vitest';
import { buildPackage, openPackage } from '../../../runtime/package/package.js';
import { floatsOf, selfTest } from '../../../runtime/package/self-test.js';
import type { ManifestInput } from '../../../runtime/package/manifest.js';
import { fakePipeline } from '../pipeline/fakes.js';
import { files, manifest } from './manifest-fixture.js';

const bytesOf = (...values: number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);

/** A white aligned face: the fake embedder answers the sums of the channels. */
const white = 255 * 112 * 112;
const pixels = new Uint8Array(112 * 112 * 3).fill(255);

async function packed(expected: Uint8Array, change: Partial<ManifestInput> = {}) {
  const golden: ManifestInput['golden'] = [{
    stage: 'embedder', input: 'golden/embedder-0.u8', outputs: [{ name: 'output', file: 'golden/embedder-0.f32' }], min_cosine: 0.99, max_abs: 10,
  }];
  const { bytes } = await buildPackage({ ...manifest, golden, ...change }, { ...files, 'golden/embedder-0.u8': pixels, 'golden/embedder-0.f32': expected });
  return openPackage(bytes);
}

describe('selfTest', () => {
  it('passes when the outputs are the recorded ones, and measures', async () => {
    const { pipeline, embedder } = fakePipeline({ faces: [] });
    const report = await selfTest(await packed(bytesOf(white, white, white, 0)), { pipeline, rounds: 5 });
    expect(report).toMatchObject({ passed: true, failures: [], memoryBytes: 6000, worstMaxAbs: 0 });
    expect(report.worstCosine).toBeCloseTo(1, 9);
    expect(report.p99Ms).toBeGreaterThanOrEqual(report.p50Ms);
    expect(embedder.runs).toBe(6);
    await pipeline.close();
  });

  it('names what differs: by direction, and by size', async () => {
    const { pipeline } = fakePipeline({ faces: [] });
    const turned = await selfTest(await packed(bytesOf(white, -white, white, 0)), { pipeline, rounds: 1 });
    expect(turned.passed).toBe(false);
    expect(turned.failures[0]).toMatch(/^embedder output: cosine 0\.3/);
    const scaled = await selfTest(await packed(bytesOf(white + 100, white + 100, white + 100, 0)), { pipeline, rounds: 1 });
    expect(scaled).toMatchObject({ passed: false, worstMaxAbs: 100 });
    const nan = await selfTest(await packed(bytesOf(NaN, white, white, 0)), { pipeline, rounds: 1 });
    expect(nan.passed).toBe(false);
    await pipeline.close();
  });

  it('holds the budget of memory and latency', async () => {
    const { pipeline } = fakePipeline({ faces: [] });
    const expected = bytesOf(white, white, white, 0);
    const heavy = await selfTest(await packed(expected, { budget: { ram_bytes: 5999, p99_ms: 1000 } }), { pipeline, rounds: 1 });
    expect(heavy.failures).toEqual(['memory 6000 bytes is over the budget of 5999 bytes']);
    const slow = await selfTest(await packed(expected, { budget: { ram_bytes: 6000, p99_ms: 1e-9 } }), { pipeline, rounds: 1 });
    expect(slow.failures[0]).toMatch(/^p99 .* over the budget/);
    await pipeline.close();
  });

  it('measures the energy of one pass where somebody can tell it, and holds the budget', async () => {
    const { pipeline, embedder } = fakePipeline({ faces: [] });
    const expected = bytesOf(white, white, white, 0);
    const budget = { ram_bytes: 6000, p99_ms: 1000, joules: 0.5 };
    const [before, joules] = [embedder.runs, 2];
    const energy = (): Promise<number> => Promise.resolve((embedder.runs - before) * joules);
    const dear = await selfTest(await packed(expected, { budget }), { pipeline, rounds: 1, energy });
    expect(dear.joules).toBe(joules);
    expect(dear.failures).toEqual(['an inference took 2.00 J, over the budget of 0.5 J']);
    const unknown = await selfTest(await packed(expected, { budget }), { pipeline, rounds: 1, energy: () => Promise.resolve(null) });
    expect(unknown).toMatchObject({ joules: null, passed: true });
    expect((await selfTest(await packed(expected, { budget }), { pipeline, rounds: 1 })).joules).toBeNull();
    await pipeline.close();
  });

  it('refuses golden files of the wrong size, and vectors of a stage that is not there', async () => {
    const { pipeline } = fakePipeline({ faces: [] });
    await expect(selfTest(await packed(bytesOf(1, 2)), { pipeline })).rejects.toMatchObject({ code: 'E_PACKAGE', message: expect.stringContaining('8 bytes') as string });
    await pipeline.close();
  });

  it('reads floats that are not aligned in the archive', () => {
    const bytes = new Uint8Array(9);
    bytes.set(bytesOf(1.5, -2), 1);
    expect([...floatsOf(bytes.subarray(1))]).toEqual([1.5, -2]);
  });
});
