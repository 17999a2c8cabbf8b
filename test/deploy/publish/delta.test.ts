/** How much of a package travels when little of it has changed, as a device counts it: chunks that it lacks, deflated where that is worth it, and the list of chunks. */
import { describe, expect, it } from 'vitest';
import { wireBytes } from '../../../deploy/bench/transfer/packages.js';
import { buildPackage } from '../../../runtime/package/package.js';
import { random } from '../../runtime/support/random.js';
import { files, manifest } from '../../runtime/package/manifest-fixture.js';
import type { ManifestInput } from '../../../runtime/package/manifest.js';

const WEIGHTS = 1_500_000;

/** Weights of a quantized net: bell-shaped codes. */
function weights(bytes: number, seed: number): Uint8Array {
  const next = random(seed);
  return Uint8Array.from({ length: bytes }, () => 128 + Math.round(12 * (next() + next() + next() + next() - 2)));
}

function shareOf(before: Uint8Array, after: Uint8Array): number {
  return wireBytes({ name: 'faces', version: '2.0.0', releaseCounter: 2, digest: 'ab'.repeat(32), bytes: after }, before) / after.length;
}

describe('an update of a package', () => {
  const net = weights(WEIGHTS, 1);
  const build = async (data: Uint8Array, over: Partial<ManifestInput>): Promise<Uint8Array> => (await buildPackage({ ...manifest, ...over }, { ...files, 'models/detector.onnx': data })).bytes;

  it('of which one threshold has changed sends at most 1 % of its bytes', async () => {
    const share = shareOf(await build(net, {}), await build(net, { version: '9.0.0', budget: { ram_bytes: 1_000_000, p99_ms: 17 } }));
    expect(share).toBeLessThanOrEqual(0.01);
  });

  it('of which the last layer has changed, a tenth of the weights, sends at most 25 % of its bytes', async () => {
    const changed = Uint8Array.from(net);
    changed.set(weights(WEIGHTS / 10, 2), WEIGHTS * 0.88);
    const share = shareOf(await build(net, {}), await build(changed, { version: '9.0.0' }));
    expect(share).toBeLessThanOrEqual(0.25);
    expect(share).toBeGreaterThan(0.05);
  });
});
