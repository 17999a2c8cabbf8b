import { setTimeout as sleep } from 'node:timers/promises';
import type { Status } from '../../agent/contracts/index.js';
import { DeployError } from '../errors.js';
import type { KnownPipeline } from '../publish/devices.js';
import { errorOf, outcomeOf } from '../publish/outcome.js';
import type { Publisher } from '../publish/publisher.js';
import { stepRollout, type RolloutEvent, type RolloutNote } from './machine.js';
import { TOUCHED, type CodedFailure, type RolloutDevice } from './state.js';
import type { Rollout, RolloutStore, StoredStep } from './store.js';

export interface RolloutRunnerOptions {
  store: RolloutStore;
  /** Started and stopped by whoever made it; the runner states through it what devices should run. */
  publisher: Pick<Publisher, 'known' | 'nextGeneration' | 'state' | 'devices' | 'on' | 'off'>;
  fleet: string;
  /** Makes a device that runs the package `from` run its previous one; it leaves one that runs something else as it is. @throws DeployError */
  sendBack: (target: { device: string; pipeline: string; status: Status | null; from: string }) => Promise<unknown>;
  /** What happens to a roll-out, as it happens. */
  onNote?: (rollout: Rollout, note: RolloutNote) => void;
  /** Something failed that will be tried again. */
  onError?: (error: unknown) => void;
  /** Between two looks at times and requests. Default 1 s. */
  tickMs?: number;
  now?: () => number;
}

/** Devices that are told something at the same time. */
const MAX_WORKING = 16;
/** Devices that are looked at in one tick. */
const BATCH = 500;
/** Before a device that did not answer is told again to return. */
const RETRY_MS = 30_000;
/** After a start, what the broker retains is heard before devices are told again: somebody may have told them otherwise meanwhile. */
const HEARD_MS = 1500;
/** For messages on their way to a broker that does not answer. */
const STOP_MS = 2000;
/** No device could be told, so none is tried. */
const OF_THE_FLEET_SIDE: ReadonlySet<string> = new Set(['E_REPOSITORY', 'E_REPOSITORY_TARGET', 'E_KEY']);

type Without<T> = T extends unknown ? Omit<T, 'device' | 'now_ms'> : never;
/** Time and row are added when it is stepped. */
type UntimedEvent = Without<RolloutEvent>;
type DeviceEvent = Without<Extract<RolloutEvent, { device: RolloutDevice }>>;

/**
 * Carries out the roll-outs of a fleet. What it decides is stored before it is done, with the generation, and done again after a restart when it is not certain that
 * it was done. That harms nobody: a device takes each generation once, and the command to go back names the package that it shall leave.
 */
export class RolloutRunner {
  readonly #options: RolloutRunnerOptions;
  readonly #work = new Map<string, Promise<void>>();
  readonly #retryAt = new Map<string, number>();
  readonly #stopping = new AbortController();
  #timer: NodeJS.Timeout | null = null;
  #startedMs = 0;

  constructor(options: RolloutRunnerOptions) {
    this.#options = options;
  }

  start(): void {
    if (this.#timer !== null) return;
    this.#startedMs = this.#now;
    this.#options.publisher.on('changed', this.#onChanged);
    this.#timer = setInterval(this.#tick, this.#options.tickMs ?? 1000);
    for (const device of this.#options.publisher.devices()) this.#onChanged(device);
    this.#tick();
  }

  async stop(): Promise<void> {
    if (this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
    this.#options.publisher.off('changed', this.#onChanged);
    this.#stopping.abort();
    await Promise.race([Promise.allSettled(this.#work.values()), sleep(STOP_MS, undefined, { ref: false })]);
  }

  get #now(): number {
    return (this.#options.now ?? Date.now)();
  }

  readonly #tick = (): void => {
    this.#guard(() => {
      for (const id of this.#options.store.unfinished(this.#options.fleet)) this.#look(id);
    });
  };

  /** A report, a status or a `desired` of a device arrived. */
  readonly #onChanged = (device: string): void => {
    this.#guard(() => {
      for (const id of this.#options.store.of(this.#options.fleet, device)) this.#observe(id, device);
    });
  };

  /** A database that is busy or full must not end the process: the next tick tries again. */
  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#options.onError?.(error);
    }
  }

  #look(id: string): void {
    const { store } = this.#options;
    for (let next = store.nextRequest(id); next !== null; next = store.nextRequest(id)) {
      const { kind, by, request } = next;
      this.#step(id, { request }, { type: kind, by });
    }
    const rollout = this.#step(id, {}, { type: 'tick' })?.rollout;
    if (rollout === undefined) return;
    if (rollout.state.phase === 'running') this.#startDue(rollout);
    if (rollout.state.phase === 'aborting' && this.#hasHeard) for (const row of store.inPhases(id, TOUCHED, { limit: BATCH })) this.#withdrawFrom(rollout, row);
    this.#giveUpLate(rollout);
    for (const device of store.working(id, BATCH)) this.#begin(rollout, device);
  }

  #startDue(rollout: Rollout): void {
    for (const { device, pipeline } of this.#options.store.due(rollout, this.#now, BATCH)) {
      const { reported } = this.#options.publisher.known(device, pipeline);
      // Its settings and the generation that it has seen go into what it is told.
      if (reported === null) continue;
      const { active } = reported.slots;
      const before = active === null ? null : { name: active.name, version: active.version, digest: active.digest, size_bytes: active.size_bytes };
      const generation = this.#nextGeneration(device, pipeline);
      if (this.#stepDevice(rollout.id, device, { type: 'due', before, generation })?.state.phase !== 'running') return;
    }
  }

  #withdrawFrom({ id, package: wanted }: Rollout, { device, pipeline, generation }: RolloutDevice): void {
    const { publisher } = this.#options;
    // Its generation may have been noted and not been sent yet.
    const next = isOverruled(publisher.known(device, pipeline), wanted.digest, generation) ? null : Math.max(this.#nextGeneration(device, pipeline) ?? 0, (generation ?? 0) + 1);
    this.#stepDevice(id, device, { type: 'withdraw', generation: next });
  }

  /** Null when the device accepts no further one; then telling it fails, and says so. */
  #nextGeneration(device: string, pipeline: string): number | null {
    try {
      return this.#options.publisher.nextGeneration(device, pipeline);
    } catch (error) {
      if (error instanceof DeployError) return null;
      throw error;
    }
  }

  /** Whether what the broker retains has had time to arrive. */
  get #hasHeard(): boolean {
    return this.#now >= this.#startedMs + HEARD_MS;
  }

  #giveUpLate({ id, spec, state }: Rollout): void {
    const phases = state.phase === 'aborting' ? ['withdrawing', 'returning'] as const : ['asked', 'proving'] as const;
    for (const { device, pipeline } of this.#options.store.inPhases(id, phases, { limit: BATCH, beforeMs: this.#now - spec.timeout_ms })) {
      this.#stepDevice(id, device, { type: 'late', online: this.#options.publisher.known(device, pipeline).status?.state === 'online' });
    }
  }

  /** What a device reports about its roll-out. */
  #observe(id: string, name: string): void {
    const { store, publisher } = this.#options;
    const [rollout, row] = [store.find(id), store.device(id, name)];
    if (rollout === null || row === null) return;
    const known = publisher.known(name, row.pipeline);
    if (row.phase === 'returning') return this.#begin(rollout, row);
    const { digest } = rollout.package;
    const outcome = row.generation === null || known.reported === null ? null : outcomeOf(known, digest, row.generation);
    if (outcome === null || known.reported === null || row.generation === null) return;
    const state = outcome === 'committed' && !known.reported.probation ? 'proven' : outcome;
    this.#stepDevice(id, name, { type: 'ended', outcome: state, error: errorOf(known.reported, row.generation) });
  }

  /** A step of one device, and the beginning of what it asks for. */
  #stepDevice(id: string, device: string, event: DeviceEvent): StoredStep | null {
    const step = this.#step(id, { device }, event);
    if (step?.action != null) this.#begin(step.rollout, step.action.device);
    return step;
  }

  /** Stores what comes of an event, of the whole roll-out or of one device, and tells it. Null when one of them is unknown. */
  #step(id: string, of: { device?: string; request?: number }, event: UntimedEvent): StoredStep | null {
    const now = this.#now;
    const step = this.#options.store.step(id, { ...of, nowMs: now }, ({ spec, state }, row) =>
      stepRollout(spec, state, { ...event, now_ms: now, ...(row === null ? {} : { device: row }) } as RolloutEvent));
    if (step !== null) for (const each of step.notes) this.#options.onNote?.(step.rollout, each);
    return step;
  }

  /** Begins the work that the row's phase asks for, once at a time, and only when the device has reported. */
  #begin(rollout: Rollout, row: RolloutDevice): void {
    const key = `${rollout.id}/${row.device}`;
    if (this.#stopping.signal.aborted || this.#work.has(key) || this.#work.size >= MAX_WORKING || (this.#retryAt.get(key) ?? 0) > this.#now) return;
    if (row.changed_ms < this.#startedMs && !this.#hasHeard) return; // decided by a run before this one
    const known = this.#options.publisher.known(row.device, row.pipeline);
    if (known.reported === null) return;
    const work = this.#perform(rollout, row, known).catch((error: unknown) => {
      this.#retryAt.set(key, this.#now + RETRY_MS);
      this.#options.onError?.(error);
    }).finally(() => { this.#work.delete(key); });
    this.#work.set(key, work);
  }

  async #perform(rollout: Rollout, row: RolloutDevice, known: KnownPipeline): Promise<void> {
    const works: Partial<Record<RolloutDevice['phase'], () => Promise<void>>> = {
      asking: () => this.#ask(rollout, row, known),
      withdrawing: () => this.#withdraw(rollout, row, known),
      returning: () => this.#return(rollout, row, known),
    };
    await works[row.phase]?.();
  }

  async #ask({ id, package: wanted }: Rollout, row: RolloutDevice, known: KnownPipeline): Promise<void> {
    try {
      // Who told it otherwise meanwhile, before a restart, say, is not contradicted.
      const generation = row.generation !== null && isOverruled(known, wanted.digest, row.generation) ? row.generation : await this.#tell(row, wanted);
      this.#stepDevice(id, row.device, { type: 'asked', generation });
      this.#observe(id, row.device);
    } catch (error) {
      // A broker that does not take it may do so later.
      if (!(error instanceof DeployError) || error.code === 'E_PUBLISH') throw error;
      this.#stepDevice(id, row.device, { type: 'not_asked', error: coded(error), final: OF_THE_FLEET_SIDE.has(error.code) });
    }
  }

  async #withdraw(rollout: Rollout, row: RolloutDevice, { desired }: KnownPipeline): Promise<void> {
    if (desired === null || desired.generation <= (row.generation ?? 0)) await this.#tell(row, null);
    this.#stepDevice(rollout.id, row.device, { type: 'withdrawn' });
  }

  /** With the generation that was noted, so that it may be repeated. */
  #tell({ device, pipeline, generation }: RolloutDevice, wanted: Rollout['package'] | null): Promise<number> {
    return this.#options.publisher.state(device, wanted, { pipeline, ...(generation === null ? {} : { generation }) });
  }

  /** A device that has not seen yet that nothing is wanted may still install the package, also without the network. */
  async #return(rollout: Rollout, row: RolloutDevice, { status, reported }: KnownPipeline): Promise<void> {
    if (reported === null || (reported.generation_seen ?? -1) < (row.generation ?? 0)) return;
    if (reported.slots.active?.digest !== rollout.package.digest) return void this.#stepDevice(rollout.id, row.device, { type: 'returned' });
    if (status?.state !== 'online') return; // it gets the command when it is back
    try {
      await this.#options.sendBack({ device: row.device, pipeline: row.pipeline, status, from: rollout.package.digest });
      this.#stepDevice(rollout.id, row.device, { type: 'returned' });
    } catch (error) {
      if (!(error instanceof DeployError) || error.code !== 'E_DEVICE_COMMAND') throw error;
      this.#stepDevice(rollout.id, row.device, { type: 'kept', error: coded(error) });
    }
  }
}

/** Whether somebody else has told the device to run another package since. */
function isOverruled({ desired }: KnownPipeline, digest: string, generation: number | null): boolean {
  return desired !== null && desired.package?.digest !== digest && desired.generation > (generation ?? Number.MAX_SAFE_INTEGER);
}

const coded = ({ code, message }: DeployError): CodedFailure => ({ code, message });
