import {
  decodePayload, desiredSchema, largestGeneration, ofPipeline, statusSchema, supersedes, type Desired, type DeviceTopic, type PipelineReport, type Reported, type Status,
} from '../../agent/contracts/index.js';
import { DeployError } from '../errors.js';
import { ReportGuard } from '../repository/report-guard.js';

/** What the broker's retained messages say about one device; null what they do not. */
export interface KnownDevice {
  status: Status | null;
  reported: Reported | null;
  /** By pipeline, what somebody wants it to run. Only what the device itself would accept: a generation out of bounds is not noted. */
  desired: Readonly<Record<string, Desired>>;
}

/** The same about one of its pipelines. */
export interface KnownPipeline {
  status: Status | null;
  reported: PipelineReport | null;
  desired: Desired | null;
}

const nothing: KnownDevice = { status: null, reported: null, desired: {} };

export function knownPipeline({ status, reported, desired }: KnownDevice, pipeline: string): KnownPipeline {
  return { status, reported: ofPipeline(reported, pipeline), desired: Object.hasOwn(desired, pipeline) ? desired[pipeline] ?? null : null };
}

/** The devices of one fleet as a publisher knows them. */
export class KnownDevices {
  readonly #devices = new Map<string, KnownDevice>();
  readonly #fleet: string;
  readonly #guard: ReportGuard;

  /** @param guard decides which reports are believed; by default all that are no older than those before */
  constructor(fleet: string, guard = new ReportGuard()) {
    this.#fleet = fleet;
    this.#guard = guard;
  }

  /** Names of the devices that spoke themselves, alphabetically: `desired` alone makes no device. */
  names(): string[] {
    return [...this.#devices].filter(([, { status, reported }]) => status !== null || reported !== null).map(([name]) => name).sort();
  }

  get(device: string): KnownDevice {
    return this.#devices.get(device) ?? nothing;
  }

  /** @throws ContractError for a payload that is not what its topic says; E_REPORT_FORGED, E_REPORT_UNSIGNED, E_REPORT_REPLAYED for a report that is not believed */
  note(device: string, topic: DeviceTopic, payload: Uint8Array): KnownDevice | null {
    if (payload.byteLength === 0) return null; // a retained message being cleared
    const known = this.get(device);
    const next = topic.kind === 'reported' ? { ...known, reported: this.#report(device, payload, known.reported) } : noted(known, topic, payload);
    if (next === null) return null;
    this.#devices.set(device, next);
    return next;
  }

  #report(device: string, payload: Uint8Array, known: Reported | null): Reported {
    const address = { fleet: this.#fleet, device };
    const reported = this.#guard.read(address, payload);
    this.#guard.requireNewer(address, reported, known);
    return reported;
  }

  /** Notes what this side has stated, before the broker echoes it. */
  state(device: string, pipeline: string, desired: Desired): void {
    const known = this.get(device);
    this.#devices.set(device, { ...known, desired: { ...known.desired, [pipeline]: desired } });
  }

  /**
   * The generation of the next `desired`: larger than all that is known, and by the clock (milliseconds), so that it grows across
   * publishers, too; never larger than what the device accepts, whatever somebody else left on the broker.
   * @throws DeployError E_GENERATION
   */
  nextGeneration(device: string, pipeline: string, nowMs: number): number {
    const { reported, desired } = knownPipeline(this.get(device), pipeline);
    const seen = reported?.generation_seen ?? null;
    const known = Math.max(seen ?? 0, desired?.generation ?? 0);
    const generation = Math.min(Math.max(known + 1, Math.floor(nowMs)), largestGeneration(seen), Number.MAX_SAFE_INTEGER);
    if (generation > (seen ?? -1)) return generation;
    throw new DeployError('E_GENERATION', `${device} reports generation ${seen}, after which there is no larger one. Update its agent: one that bounds generations refuses such a number`, { details: { device, seen } });
  }
}

function noted(known: KnownDevice, topic: DeviceTopic, payload: Uint8Array): KnownDevice | null {
  switch (topic.kind) {
    case 'status': {
      const status = decodePayload(statusSchema, payload);
      return supersedes(status, known.status) ? { ...known, status } : null;
    }
    case 'desired': {
      const desired = decodePayload(desiredSchema, payload);
      const acceptable = desired.generation <= largestGeneration(ofPipeline(known.reported, topic.pipeline)?.generation_seen ?? null);
      return acceptable ? { ...known, desired: { ...known.desired, [topic.pipeline]: desired } } : null;
    }
    default: return null;
  }
}
