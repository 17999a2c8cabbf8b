import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import type { GovernorEvent } from '../../../agent/contracts/index.js';
import { runtimePort, testPackage } from '../../../agent/inference/runtime-port.js';
import type { Model, SourceRequest } from '../../../agent/ground/runtime.js';
import type { GateReport } from '../../../agent/ground/package.js';
import { parseConfig, startAgent, type Agent } from '../../../agent/main.js';
import { systemClock } from '../../../agent/platform/clock.js';
import { ThermalMonitor } from '../../../agent/thermal/thermal.js';
import { buildPipelinePackage } from '../../../deploy/package/build.js';
import { VariantSwitch } from '../../../agent/pipelines/variant-switch.js';
import type { FaultPort } from '../../../agent/ground/faults.js';
import type { Running } from '../../../agent/ground/frames.js';
import { RuntimeError } from '../../../runtime/errors.js';
import type { FrameSource } from '../../../runtime/frame.js';
import { frameOf } from '../../runtime/pipeline/fakes.js';
import { nativeMissing } from '../../runtime/support/native.js';
import { tinyModels } from '../../deploy/package/tiny-models.js';
import { aedesBroker } from '../support/brokers.js';
import { FakeRuntime } from '../support/fake-runtime.js';
import { FleetSide } from '../support/fleet-side.js';
import { machine } from '../support/machine.js';
import { quietLog, temporaryFolder, until } from '../support/tools.js';
import { PATIENT_OTA } from '../support/update-rules.js';

const models = tinyModels();
const temp = 'sys/class/thermal/thermal_zone0/temp';

/** Real packages, before a camera that sees something new in each frame. */
class RealPackages extends FakeRuntime {
  /** What frames went through, newest last; null: the package's own networks. */
  readonly ran: (string | null)[] = [];
  readonly sequences: number[] = [];
  readonly #port = runtimePort(parseConfig({ state_dir: temporaryFolder() }), () => undefined);

  override async openModel(...given: Parameters<FakeRuntime['openModel']>): Promise<Model> {
    const model = await this.#port.openModel(...given);
    const { pipeline } = model;
    const process = pipeline.process.bind(pipeline);
    pipeline.process = async (frame) => {
      const result = await process(frame);
      this.ran.push(result.variant ?? null);
      this.sequences.push(result.sequence);
      return result;
    };
    return model;
  }

  override describePackage(path: string): Promise<{ name: string; version: string }> {
    return this.#port.describePackage(path);
  }

  override testCandidate(path: string): Promise<GateReport> {
    return testPackage(path, parseConfig({ state_dir: temporaryFolder() }), () => undefined);
  }

  override openSource(request: SourceRequest): FrameSource {
    const source = super.openSource(request);
    return {
      dropped: 0,
      async *[Symbol.asyncIterator]() {
        for await (const { sequence, capturedMs } of source) yield frameOf([sequence * 40 % 250, 90, 120], { sequence, capturedMs });
      },
    };
  }
}

interface Door { agent: Agent; runtime: RealPackages; heat: (celsius: number) => void; later: (minutes: number) => void; fleet: FleetSide }

async function door(): Promise<Door> {
  const folder = temporaryFolder();
  const path = join(folder, 'faces.sterna');
  const plan = { name: 'small', models: { detector: models.detector }, figures: { load: 0.4, cost: 0.01 } };
  writeFileSync(path, (await buildPipelinePackage('face-recognition', models, { name: 'faces', version: '1.0.0', variants: [plan] })).bytes);
  const { files, set } = machine({ 'sys/class/thermal/thermal_zone0/type': 'cpu-thermal', [temp]: 50_000 });
  const clock = systemClock();
  let skippedMs = 0;
  const broker = await aedesBroker();
  const fleet = await FleetSide.connect(broker.url, { fleet: 'test', device: 'door' });
  const runtime = new RealPackages();
  runtime.frameMs = 20;
  const config = parseConfig({
    device_id: 'door', fleet: 'test', state_dir: join(folder, 'state'), broker: { url: broker.url }, api: { port: 0 }, ota: PATIENT_OTA, trust: { unsigned: true },
    camera: { input: '/dev/door' }, pipeline: { package: path }, governor: { max_celsius: 60, max_gate_factor: 1 },
  });
  const agent = await startAgent(config, { runtime, files, log: quietLog, env: {}, clock: { ...clock, nowMs: () => clock.nowMs(), synchronized: () => true, monotonicMs: () => clock.monotonicMs() + skippedMs } });
  onTestFinished(() => agent.stop());
  await until('frames run', () => runtime.ran.length > 0);
  return { agent, runtime, fleet, heat: (celsius) => set(temp, celsius * 1000), later: (minutes) => { skippedMs += minutes * 60_000; } };
}

const statusOf = (agent: Agent) => (agent.status()['pipelines'] as { model: { variant: string | null } | null; counters: Record<string, number> }[])[0];
const moves = (fleet: FleetSide): GovernorEvent[] => fleet.events.filter((event) => event.type === 'governor');

describe.skipIf(nativeMissing !== undefined)('a device that becomes too hot', () => {
  it('changes to the variant of its package, and back when it has cooled down, and loses no frame', async () => {
    const { agent, runtime, fleet, heat, later } = await door();
    expect(runtime.ran.every((name) => name === null)).toBe(true);
    heat(61);
    // At once, while the variant still opens: another four seconds of heat would halve the load again.
    await until('the governor goes down', () => moves(fleet).length > 0);
    const sampled = vi.spyOn(ThermalMonitor.prototype, 'sample');
    onTestFinished(() => sampled.mockRestore());
    heat(40);
    await until('the variant runs', () => runtime.ran.at(-1) === 'small', 20_000);
    expect(statusOf(agent)?.model?.variant).toBe('small');
    expect(moves(fleet)[0]).toMatchObject({ action: 'lowered', reason: 'temperature', from: 0, variant: 1, pace: 1, gate_factor: 1, reading: { celsius: 61 } });
    // A sample may have begun before it cooled down; the next one begins when that is over.
    await until('the sensor is read', () => sampled.mock.calls.length > 1);
    later(6);
    await until('its own networks run', () => runtime.ran.at(-1) === null, 30_000);
    await until('that is told', () => moves(fleet).some(({ reason }) => reason === 'recovered'));
    expect(moves(fleet).at(-1)).toMatchObject({ action: 'raised', reason: 'recovered', to: 0, variant: 0 });
    expect(statusOf(agent)?.model?.variant).toBeNull();
    // Every frame of the camera was processed, through one or the other.
    expect(statusOf(agent)?.counters['frames_paced_total'] ?? 0).toBe(0);
    const [first = 0] = runtime.sequences;
    expect(runtime.sequences).toEqual(runtime.sequences.map((_, i) => first + i));
    // A window ended with each change, and says what ran.
    await until('telemetry', () => fleet.telemetry.some(({ pipelines }) => pipelines[0]?.model?.variant === 'small'));
  });
});

describe('a change to a variant', () => {
  function switching(setVariant: (name: string | null) => Promise<void>) {
    const pipeline = { variant: null as string | null, variants: [{ name: 'small', load: 0.5, cost: 0.1 }, { name: 'tiny', load: 0.3, cost: 0.2 }], setVariant: async (name: string | null) => { await setVariant(name); pipeline.variant = name; } };
    const seen = { running: { model: { pipeline } } as unknown as Running | null, changed: 0, unusable: 0, faults: [] as string[] };
    const faults = { raise: (source: string, { code }: { code: string }) => { seen.faults.push(`${source} ${code}`); } } as unknown as FaultPort;
    const variants = new VariantSwitch({ running: () => seen.running, faults, changed: () => { seen.changed += 1; return Promise.resolve(); }, unusable: () => { seen.unusable += 1; } });
    return { variants, pipeline, seen };
  }

  it('that fails is a fault, and the variant is not tried again', async () => {
    const asked: (string | null)[] = [];
    const { variants, seen } = switching((name) => { asked.push(name); return name === 'small' ? Promise.reject(new RuntimeError('E_MODEL_SHAPE', 'does not fit')) : Promise.resolve(); });
    await variants.change('small');
    expect(seen).toMatchObject({ faults: ['pipeline E_MODEL_SHAPE'], unusable: 1, changed: 0 });
    expect(variants.usable.map(({ name }) => name)).toEqual(['tiny']);
    await variants.change('small');
    await variants.change('tiny');
    expect([asked, seen.changed]).toEqual([['small', 'tiny'], 1]);
    // Another package has variants of its own.
    seen.running = switching(() => Promise.resolve()).seen.running;
    expect(variants.usable).toHaveLength(2);
  });

  it('of a package that serves no more is no fault, and packages without variants go on as they are', async () => {
    const { variants, seen } = switching(() => { seen.running = null; return Promise.reject(new RuntimeError('E_INPUT', 'The pipeline is closed')); });
    await variants.change('small');
    await variants.change('other');
    expect([seen.faults, seen.unusable, variants.usable]).toEqual([[], 0, []]);
  });
});
