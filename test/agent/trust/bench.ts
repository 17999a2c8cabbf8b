/** A whole daemon with pinned roots that serves a package, behind a broker that the test controls. */
import { expect, onTestFinished } from 'vitest';
import { parseConfig, startAgent, type Agent } from '../../../agent/main.js';
import { deviceTopic, type CommandStatement, type Desired, type Response } from '../../../agent/contracts/index.js';
import { aedesBroker, type TestBroker } from '../support/brokers.js';
import { FakeRuntime, packageBytes } from '../support/fake-runtime.js';
import { FleetSide } from '../support/fleet-side.js';
import { quietLog, temporaryFolder, until } from '../support/tools.js';
import { PATIENT_OTA } from '../support/update-rules.js';
import { ADDRESS, digestOf, HARDWARE, SignedFleet, START_MS, type Item } from './fleet.js';

export function fakeItem(version: string, counter: number, name = 'faces'): Item {
  return { name, version, counter, bytes: packageBytes({ name, version, padding: 2000 }) };
}

export class TrustBench {
  readonly fleet: SignedFleet;
  readonly broker: TestBroker;
  readonly side: FleetSide;
  readonly state = temporaryFolder();
  readonly runtime = new FakeRuntime();
  /** Of the device. */
  nowMs = START_MS;
  agent!: Agent;
  #generation = 0;

  private constructor(fleet: SignedFleet, broker: TestBroker, side: FleetSide) {
    this.fleet = fleet;
    this.broker = broker;
    this.side = side;
  }

  /** Started; with `serves`, that package runs. */
  static async start({ fleet = new SignedFleet(), serves = fakeItem('1.0.0', 1), config = {} }: { fleet?: SignedFleet; serves?: Item | null; config?: Record<string, unknown> } = {}): Promise<TrustBench> {
    const broker = await aedesBroker();
    const bench = new TrustBench(fleet, broker, await FleetSide.connect(broker.url, ADDRESS));
    await bench.boot(config);
    if (serves !== null) await bench.install(serves);
    return bench;
  }

  async boot(config: Record<string, unknown> = {}): Promise<void> {
    const { fleet, state, broker } = this;
    this.agent = await startAgent(parseConfig({
      device_id: ADDRESS.device, fleet: ADDRESS.fleet, state_dir: state, broker: { url: broker.url }, camera: { input: '/camera', loop: true }, api: { port: 0 },
      telemetry: { interval_ms: 60_000 }, ota: PATIENT_OTA,
      trust: { hardware_id: HARDWARE, image_root: `${fleet.folder}/image/1.root.json`, director_root: `${fleet.folder}/director/1.root.json` }, ...config,
    }), {
      runtime: this.runtime, log: quietLog, env: {}, backoff: { baseMs: 20, capMs: 100 }, diskRetryMs: 50,
      clock: { nowMs: () => this.nowMs, monotonicMs: () => performance.now(), synchronized: () => true },
    });
    const { agent } = this;
    onTestFinished(() => agent.stop());
    const before = this.side.reported.length;
    await until('the device reports', () => this.side.reported.length > before);
  }

  /** The next number that nobody has used. */
  next(): number {
    return ++this.#generation;
  }

  offer(...items: Item[]): void {
    this.side.packages = new Map([...this.side.packages, ...items.map(({ bytes }) => [digestOf(bytes), bytes] as const)]);
  }

  /** An honest update, to its end. */
  async install(item: Item): Promise<void> {
    this.offer(item);
    this.fleet.add(item);
    const generation = this.next();
    await this.side.desire(this.fleet.desired(generation, item));
    await this.side.untilReported(`${item.version} runs`, (r) => r.slots.active?.version === item.version && r.generation_applied === generation && r.refused === null);
  }

  /** Publishes a hostile message. Expects the code, and that nothing else has changed: the same package serves, and nothing was asked for. */
  async refuses(code: string, desired: Desired): Promise<void> {
    const before = this.side.reported.at(-1);
    const [requests, opened, frames] = [this.side.requests.length, this.runtime.opened.length, this.frames];
    await this.side.desire(desired);
    await until(`${code} is reported`, () => this.side.reported.at(-1)?.refused?.generation === desired.generation);
    const after = this.side.reported.at(-1);
    expect(after?.refused?.code, after?.refused?.message).toBe(code);
    expect(after?.faults.map((fault) => fault.code)).toContain(code);
    expect({ seen: after?.generation_seen, slots: after?.slots, settings: after?.settings, state: after?.ota.state }).toEqual({ seen: before?.generation_seen, slots: before?.slots, settings: before?.settings, state: before?.ota.state });
    expect({ requests: this.side.requests.length, opened: this.runtime.opened.length }).toEqual({ requests, opened });
    if (before?.slots.active != null) await until('frames are processed', () => this.frames > frames);
  }

  get frames(): number {
    const [pipeline] = this.agent.status()['pipelines'] as { counters: Record<string, number> }[];
    return pipeline?.counters['frames_processed_total'] ?? 0;
  }

  /** Sends a command as it is, and gives the answer. */
  async command(statement: CommandStatement, signed: string | undefined, over: { name?: string; args?: Record<string, unknown>; id?: string } = {}): Promise<Response> {
    const before = this.side.responses.length;
    const payload = JSON.stringify({ schema_version: 2, id: over.id ?? statement.id, args: over.args ?? statement.args, ...(statement.pipeline === null ? {} : { pipeline: statement.pipeline }), ...(signed === undefined ? {} : { signed }) });
    await this.side.client.publishAsync(deviceTopic(ADDRESS, { kind: 'cmd', name: over.name ?? statement.command }), payload, { qos: 1 });
    await until('an answer', () => this.side.responses.length > before);
    const answer = this.side.responses[before];
    if (answer === undefined) throw new Error('no answer');
    return answer;
  }
}
