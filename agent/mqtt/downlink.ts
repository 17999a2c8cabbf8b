/**
 * Takes messages from the broker apart and hands them on. It returns at once, because MQTT.js acknowledges a message when this is done. The cost of a
 * message is bounded before it is read: of several `desired` within a short time only the newest is decoded, and commands and blocks have a maximum
 * rate.
 */
import { decodePayload, desiredSchema, parseTopic, type Desired, type DeviceAddress, type DeviceTopic } from '../contracts/index.js';
import { AgentError, toCodedError } from '../errors.js';
import type { FaultPort } from '../ground/faults.js';
import type { Clock } from '../platform/clock.js';
import type { DeviceCounters } from '../ground/counters.js';
import { Rate } from './rate.js';

export interface DownlinkParts {
  address: DeviceAddress;
  /** Names of this device's pipelines. */
  pipelines: readonly string[];
  counters: DeviceCounters;
  faults: FaultPort;
  clock: Clock;
  onDesired: (pipeline: string, desired: Desired) => void;
  onCommand: (name: string, payload: Buffer) => void;
  onBlock: (digest8: string, index: number, message: Buffer) => void;
}

/** Decoding 128 KiB of JSON takes milliseconds, so in each interval of this length only the newest `desired` is decoded. */
const DESIRED_INTERVAL_MS = 100;
const COMMANDS = { perSecond: 20, burst: 64 };
/** A block has up to 64 KiB. The limit is far above what a device asks for (at most 16 at a time), and far below what a flood could bring. */
const BLOCKS = { perSecond: 4000, burst: 4000 };

/** The newest `desired` of a pipeline that has not been taken yet. */
interface Newest {
  waiting: { topic: string; payload: Buffer } | null;
  takenAtMs: number;
  timer: NodeJS.Timeout | undefined;
}

export class Downlink {
  readonly #parts: DownlinkParts;
  readonly #commands = new Rate(COMMANDS);
  readonly #blocks = new Rate(BLOCKS);
  /** The messages that wait, by the name of the pipeline. */
  readonly #desired: ReadonlyMap<string, Newest>;

  constructor(parts: DownlinkParts) {
    this.#parts = parts;
    this.#desired = new Map(parts.pipelines.map((name) => [name, { waiting: null, takenAtMs: -Infinity, timer: undefined }]));
  }

  receive(text: string, payload: Buffer, retained: boolean): void {
    const { address } = this.#parts;
    const parsed = parseTopic(text);
    if (parsed === null || parsed.fleet !== address.fleet || parsed.device !== address.device) return;
    // An empty retained message only clears the topic, so it wants nothing.
    if (parsed.topic.kind === 'desired') { if (payload.length > 0) this.#receiveDesired(text, parsed.topic.pipeline, payload); }
    else this.#guard(text, () => this.#dispatch(parsed.topic, payload, retained));
  }

  /** Drops the messages that wait. */
  stop(): void {
    for (const newest of this.#desired.values()) {
      clearTimeout(newest.timer);
      Object.assign(newest, { timer: undefined, waiting: null });
    }
  }

  #dispatch(topic: DeviceTopic, payload: Buffer, retained: boolean): void {
    const nowMs = this.#parts.clock.monotonicMs();
    if (topic.kind === 'ota_block') {
      if (this.#blocks.take(nowMs)) this.#parts.onBlock(topic.digest8, topic.index, payload);
      else this.#parts.counters.add('messages_refused_total'); // Nothing is lost by refusing it: a block that was wanted is asked for again.
    } else if (topic.kind === 'cmd' && !retained) {
      // The broker would deliver a retained command at every connection, and it would be executed each time. So retained commands are refused.
      if (!this.#commands.take(nowMs)) throw new AgentError('E_COMMAND', `More than ${COMMANDS.perSecond} commands a second arrived; some were not taken`);
      this.#parts.onCommand(topic.name, payload);
    }
  }

  /** Takes the first `desired` at once. Those that follow within the interval replace each other, and the last of them is taken at its end. */
  #receiveDesired(topic: string, pipeline: string, payload: Buffer): void {
    const { clock, counters, pipelines } = this.#parts;
    const newest = this.#desired.get(pipeline);
    if (newest === undefined) {
      return this.#guard(topic, () => { throw new AgentError('E_PIPELINE_UNKNOWN', `This device has no pipeline ${pipeline}; it has ${pipelines.join(', ')}`); });
    }
    const waitMs = newest.takenAtMs + DESIRED_INTERVAL_MS - clock.monotonicMs();
    if (newest.waiting !== null) counters.add('messages_coalesced_total');
    newest.waiting = { topic, payload };
    if (waitMs <= 0 && newest.timer === undefined) this.#takeDesired(pipeline, newest);
    else newest.timer ??= setTimeout(() => this.#takeDesired(pipeline, newest), Math.max(1, waitMs));
  }

  #takeDesired(pipeline: string, newest: Newest): void {
    const { waiting } = newest;
    newest.timer = undefined;
    newest.waiting = null;
    if (waiting === null) return;
    newest.takenAtMs = this.#parts.clock.monotonicMs();
    this.#guard(waiting.topic, () => {
      this.#parts.onDesired(pipeline, decodePayload(desiredSchema, waiting.payload));
      this.#parts.faults.clear('mqtt', 'E_PAYLOAD');
      this.#parts.faults.clear('mqtt', 'E_PAYLOAD_VERSION');
    });
  }

  #guard(text: string, work: () => void): void {
    const { counters, faults } = this.#parts;
    try {
      work();
    } catch (error) {
      counters.add('messages_refused_total');
      faults.raise('mqtt', { ...toCodedError(error), message: `${text}: ${toCodedError(error).message}` }, 'warning');
    }
  }
}
