/** Simulated devices that take updates: what `bench:fleet --only rollout` rests on. */
import { describe, expect, it } from 'vitest';
import { blockCount, encodeBlock, encodeBusy, MAX_BLOCK_BYTES, requestedBlocks, type Desired, type OtaGet, type PipelineReport } from '../../../agent/contracts/index.js';
import { birthOf } from '../../../deploy/bench/fleet/payloads.js';
import { SimulatedUpdate } from '../../../deploy/bench/fleet/simulated-update.js';
import { noisePackage } from '../../../deploy/bench/transfer/packages.js';
import { desiredPackage, type HeldPackage } from '../../../deploy/publish/packages.js';
import { json } from '../fixtures.js';

const held = noisePackage(20 * MAX_BLOCK_BYTES + 100, 2);
const blocks = blockCount(held.bytes.byteLength, MAX_BLOCK_BYTES);

function device(): { update: SimulatedUpdate; asked: OtaGet[]; said: PipelineReport[]; want: (wanted?: HeldPackage, generation?: number) => void; send: (index: number, nowMs?: number, bytes?: Uint8Array) => void } {
  const [asked, said]: [OtaGet[], PipelineReport[]] = [[], []];
  const [pipeline] = birthOf('boot-of-no-device', 1).reported.pipelines;
  const update = new SimulatedUpdate({ ask: (request) => asked.push(request), report: (report) => said.push(report) }, pipeline ?? expect.fail());
  const want = (wanted = held, generation = 5): void => {
    const desired: Desired = { schema_version: 2, generation, package: desiredPackage(wanted), settings: {} };
    update.take({ kind: 'desired', pipeline: 'main' }, json(desired), 0);
  };
  const send = (index: number, nowMs = 0, bytes = held.bytes): void => update.take({ kind: 'ota_block', digest8: held.digest.slice(0, 8), index },
    encodeBlock({ index, last: index === blocks - 1, payload: bytes.subarray(index * MAX_BLOCK_BYTES, (index + 1) * MAX_BLOCK_BYTES) }), nowMs);
  return { update, asked, said, want, send };
}

describe('a simulated device', () => {
  it('fetches a package whatever the order of its blocks, and reports as the agent does', () => {
    const { update, asked, said, want, send } = device();
    want();
    want(held, 4); // an older generation
    expect(said.map(({ ota: { state } }) => state)).toEqual(['downloading']);
    for (let round = 0; update.updated === 0; round++) {
      const wanted = requestedBlocks(asked.at(-1) ?? expect.fail(), blocks);
      for (const index of wanted.reverse()) { send(index); send(index); }
      expect(round).toBeLessThan(10);
    }
    expect(asked).toHaveLength(Math.ceil(blocks / 8));
    expect(said.at(-1)).toMatchObject({ generation_seen: 5, generation_applied: 5, probation: true, slots: { active: { digest: held.digest } }, ota: { state: 'committed' } });
    update.poll(10_000);
    expect(said.at(-1)).toMatchObject({ probation: false });
  });

  it('asks again for what did not come, and when it was told to', () => {
    const { update, asked, want, send } = device();
    want();
    send(1);
    update.poll(1000);
    expect(asked).toHaveLength(1);
    update.poll(6000);
    expect(requestedBlocks(asked[1] ?? expect.fail(), blocks)).toEqual([0, 2, 3, 4, 5, 6, 7, 8]);
    update.take({ kind: 'ota_block', digest8: held.digest.slice(0, 8), index: 0 }, encodeBusy(0, 30_000), 6000);
    update.poll(35_000);
    expect(asked).toHaveLength(2);
    update.poll(36_000);
    expect(asked).toHaveLength(3);
  });

  it('rejects a package that differs from its digest', () => {
    const { update, said, want, send } = device();
    want();
    const damaged = Uint8Array.from(held.bytes);
    damaged[5] = (damaged[5] ?? 0) ^ 1;
    for (let index = 0; index < blocks; index++) send(index, 0, damaged);
    expect(update.updated).toBe(0);
    expect(said.at(-1)).toMatchObject({ ota: { state: 'rejected', error: { code: 'E_OTA_DIGEST' } } });
  });
});
