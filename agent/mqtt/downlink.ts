/**
 * Messages from the broker, taken apart and handed on. Returns at once: MQTT.js acknowledges when this is done. What a
 * message costs is bounded before it is read: of `desired` only the newest of a short time is decoded, commands and blocks
 * have a rate.
 */
import { decodePayload, desiredSchema, parseTopic, type Desired, type DeviceAddress, type DeviceTopic } from '../contracts/index.js';
import { AgentError, toCodedError } from '../errors.js';
import type { Faults } from '../events/faults.js';
import type { Clock } from '../platform/clock.js';
import type { Counters } from '../telemetry/counters.js';
import { Rate } from './rate.js';

export interface DownlinkParts {
  address: DeviceAddress;
  counters: Counters;
  faults: Faults;
  clock: Clock;
  onDesired: (desired: Desired) => void;
  onCommand: (name: string, payload: Buffer) => void;
  onBlock: (digest8: string, index: number, message: Buffer) => void;
}

/** Decoding 128 KiB of JSON takes milliseconds: one `desired` in this time, the newest. */
const DESIRED_INTERVAL_MS = 100;
const COMMANDS = { perSecond: 20, burst: 64 };
/** 64 KiB each: far above what a device asks for (at most 16 at a time), far below what a flood could bring. */
const BLOCKS = { perSecond: 4000, burst: 4000 };

export class Downlink {
  readonly #parts: DownlinkParts;
  readonly #commands = new Rate(COMMANDS);
  readonly #blocks = new Rate(BLOCKS);
  #desired: { topic: string; payload: Buffer } | null = null;
  #desiredAtMs = -Infinity;
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: DownlinkParts) {
    this.#parts = parts;
  }

  receive(text: string, payload: Buffer, retained: boolean): void {
    const { address } = this.#parts;
    const parsed = parseTopic(text);
    if (parsed === null || parsed.fleet !== address.fleet || parsed.device !== address.device) return;
    // An empty retained message only clears the topic.
    if (parsed.topic.kind === 'desired') { if (payload.length > 0) this.#coalesce(text, payload); }
    else this.#guard(text, () => this.#dispatch(parsed.topic, payload, retained));
  }

  /** Forgets what waits. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#desired = null;
  }

  #dispatch(topic: DeviceTopic, payload: Buffer, retained: boolean): void {
    const nowMs = this.#parts.clock.monotonicMs();
    if (topic.kind === 'ota_block') {
      if (this.#blocks.take(nowMs)) this.#parts.onBlock(topic.digest8, topic.index, payload);
      else this.#parts.counters.add('messages_refused_total'); // whatever was wanted of it is asked for again
    } else if (topic.kind === 'cmd' && !retained) {
      // A retained command would be executed at every connection; commands are for now.
      if (!this.#commands.take(nowMs)) throw new AgentError('E_COMMAND', `More than ${COMMANDS.perSecond} commands a second arrived; some were not taken`);
      this.#parts.onCommand(topic.name, payload);
    }
  }

  /** The first one at once; those that follow too soon replace each other, and the last is taken. */
  #coalesce(topic: string, payload: Buffer): void {
    const waitMs = this.#desiredAtMs + DESIRED_INTERVAL_MS - this.#parts.clock.monotonicMs();
    if (this.#desired !== null) this.#parts.counters.add('messages_coalesced_total');
    this.#desired = { topic, payload };
    if (waitMs <= 0 && this.#timer === undefined) this.#takeDesired();
    else this.#timer ??= setTimeout(() => this.#takeDesired(), Math.max(1, waitMs));
  }

  #takeDesired(): void {
    this.#timer = undefined;
    const newest = this.#desired;
    this.#desired = null;
    if (newest === null) return;
    this.#desiredAtMs = this.#parts.clock.monotonicMs();
    this.#guard(newest.topic, () => {
      this.#parts.onDesired(decodePayload(desiredSchema, newest.payload));
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
