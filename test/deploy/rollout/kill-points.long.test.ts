/** The server of roll-outs ends at every point around what it tells a device; the next run tells it again at most what it heard before. */
import { createHash, randomUUID } from 'node:crypto';
import { describe, expect, it, onTestFinished } from 'vitest';
import { connectLink } from '../../../deploy/mqtt/link.js';
import { sendCommand } from '../../../deploy/publish/command.js';
import { desiredPackage, type HeldPackage } from '../../../deploy/publish/packages.js';
import { Publisher } from '../../../deploy/publish/publisher.js';
import { planRollout } from '../../../deploy/rollout/plan.js';
import { RolloutRunner, type RolloutRunnerOptions } from '../../../deploy/rollout/runner.js';
import { rolloutFile } from '../../../deploy/rollout/server.js';
import { defaultSpec, parseWave } from '../../../deploy/rollout/spec.js';
import { RolloutStore } from '../../../deploy/rollout/store.js';
import { aedesBroker } from '../../agent/support/brokers.js';
import { temporaryFolder, until } from '../../agent/support/tools.js';
import { SimulatedFleet } from './simulated-fleet.js';

const bytes = Uint8Array.from({ length: 3000 }, (_, i) => (i * 31) & 0xff);
const held: HeldPackage = { name: 'faces', version: '2.0.0', releaseCounter: 2, digest: createHash('sha256').update(bytes).digest('hex'), bytes };

/** What the server was about to tell, and whether it was killed before or after the broker or the device had it. */
interface KillPoint { telling: 'run it' | 'nothing is wanted' | 'go back'; when: 'before' | 'after' }
const points: KillPoint[] = (['run it', 'nothing is wanted', 'go back'] as const).flatMap((telling) => [{ telling, when: 'before' as const }, { telling, when: 'after' as const }]);

/** One run of a server. Like a killed process, it does nothing any more from its point on, and its store has what was committed until then. */
class Run {
  readonly #runner: RolloutRunner;
  readonly publisher: Publisher;
  readonly store: RolloutStore;
  killed = false;
  stated: { wanted: boolean; generation: number | null }[] = [];

  constructor(url: string, folder: string, point: KillPoint | null) {
    this.publisher = new Publisher({ url, fleet: 'demo' });
    this.publisher.hold(held);
    this.store = new RolloutStore(rolloutFile(folder));
    const die = (): Promise<never> => {
      this.killed = true;
      return new Promise(() => undefined);
    };
    const around = async <T>(telling: KillPoint['telling'], tell: () => Promise<T>): Promise<T> => {
      if (this.killed || (point?.telling === telling && point.when === 'before')) return die();
      const told = await tell();
      return point?.telling === telling ? die() : told;
    };
    const { publisher } = this;
    const wrapped: RolloutRunnerOptions['publisher'] = {
      known: (...of) => publisher.known(...of), nextGeneration: (...of) => publisher.nextGeneration(...of), devices: () => publisher.devices(),
      on: publisher.on.bind(publisher), off: publisher.off.bind(publisher),
      state: (device, wanted, how) => around(wanted === null ? 'nothing is wanted' : 'run it', () => {
        this.stated.push({ wanted: wanted !== null, generation: how?.generation ?? null });
        return publisher.state(device, wanted, how);
      }),
    };
    this.#runner = new RolloutRunner({
      store: this.store, publisher: wrapped, fleet: 'demo', tickMs: 20,
      sendBack: ({ device, pipeline, status, from }) => around('go back', async () => {
        const client = await connectLink({ url, clientId: `operator-${randomUUID().slice(0, 8)}` });
        onTestFinished(async () => { await client.endAsync(true); });
        return sendCommand(client, { address: { fleet: 'demo', device }, name: 'rollback', pipeline, args: { from }, timeoutMs: 30_000, status });
      }),
    });
  }

  async start(): Promise<this> {
    onTestFinished(() => this.end());
    await this.publisher.start();
    this.#runner.start();
    return this;
  }

  async end(): Promise<void> {
    await this.#runner.stop();
    await this.publisher.stop();
    this.store.close();
  }
}

/** The first one is in the first wave, and the second wave does not open, so that the roll-out goes on until it is aborted. */
const DEVICES = ['door-1', 'door-2'];

async function bench(): Promise<{ url: string; folder: string; fleet: SimulatedFleet }> {
  const { url } = await aedesBroker();
  const fleet = await new SimulatedFleet(DEVICES).start({ url });
  return { url, folder: temporaryFolder(), fleet };
}

function begin(store: RolloutStore): void {
  const spec = { ...defaultSpec, waves: [parseWave('ring=first'), parseWave('100%')], min_samples: 1, spread_ms: 0, soak_ms: 600_000, seed: 'seed' };
  const plan = planRollout(spec, DEVICES.map((device, i) => ({ device, pipeline: 'main', labels: i === 0 ? { ring: 'first' } : {}, active: null })), held.digest);
  store.create({ id: 'r1', fleet: 'demo', package: desiredPackage(held), spec, created_ms: Date.now(), created_by: 'ada' }, plan.devices);
}

const phaseOf = (store: RolloutStore): string | undefined => store.device('r1', 'door-1')?.phase;

describe('a server of roll-outs that is killed around what it tells a device', () => {
  it.each(points)('$when it says $telling: the device hears of one generation for each, and goes back once', async (point) => {
    const { url, folder, fleet } = await bench();
    const device = fleet.get('door-1');
    const first = await new Run(url, folder, point).start();
    begin(first.store);
    if (point.telling !== 'run it') {
      await until('it runs the package', () => phaseOf(first.store) === 'succeeded', 30_000);
      first.store.request('r1', { kind: 'abort', by: 'ada' }, Date.now());
    }
    await until('the server is killed', () => first.killed, 30_000);
    await first.end();
    const second = await new Run(url, folder, null).start();
    if (point.telling === 'run it') {
      await until('it runs the package', () => phaseOf(second.store) === 'succeeded', 30_000);
      second.store.request('r1', { kind: 'abort', by: 'ada' }, Date.now());
    }
    await until('it has returned', () => second.store.require('r1').state.phase === 'aborted', 30_000);
    expect(phaseOf(second.store)).toBe('returned');
    expect(device.told).toHaveLength(1);
    expect(device.rollbacks).toBe(1);
    expect(device.report.slots.active?.version).toBe('1.0.0');
    const stated = [...first.stated, ...second.stated];
    for (const wanted of [true, false]) expect(new Set(stated.filter((each) => each.wanted === wanted).map(({ generation }) => generation)).size).toBe(1);
  }, 120_000);

  it('does not contradict whoever told the device otherwise while no server ran', async () => {
    const { url, folder, fleet } = await bench();
    const first = await new Run(url, folder, { telling: 'run it', when: 'before' }).start();
    begin(first.store);
    await until('the server is killed', () => first.killed, 30_000);
    await first.end();
    const other = new Publisher({ url, fleet: 'demo' });
    onTestFinished(() => other.stop());
    await other.start();
    await until('the other one knows the device', () => other.devices().includes('door-1'));
    const generation = await other.state('door-1', { name: 'other', version: '9.0.0', digest: 'cd'.repeat(32), size_bytes: 10, block_bytes: 65_536 });
    const second = await new Run(url, folder, null).start();
    await until('it sees that', () => phaseOf(second.store) === 'superseded', 30_000);
    expect(second.stated).toEqual([]);
    expect(second.publisher.known('door-1').desired?.generation).toBe(generation);
    expect(fleet.get('door-1').told).toEqual([generation]);
  }, 120_000);
});
