/**
 * Sends messages from the outbox over the link. Live messages go at once; messages that had to wait go at a limited rate and carry the flag
 * `backfill`. At most `maxInFlight` are on the way, apart from live telemetry of QoS 0.
 */
import { AgentError, toCodedError, type CodedError } from '../errors.js';
import type { Clock } from '../platform/clock.js';
import type { Outbox, OutboxMessage } from './outbox.js';
import { takeToken, type Bucket } from './policy.js';

export interface PumpLink {
  readonly connected: boolean;
  publish(topic: string, payload: Buffer, options: { qos: 0 | 1 }): Promise<void>;
}

export interface PumpOptions {
  /** Beginning of every topic: `sterna/v2/{fleet}/{device}`. */
  prefix: string;
  backfillPerSecond: number;
  maxInFlight: number;
  /** Of live telemetry; everything else has 1. */
  telemetryQos: 0 | 1;
  onFault: (error: CodedError) => void;
}

const POLL_MS = 250;

export class OutboxPump {
  readonly #outbox: Outbox;
  readonly #link: PumpLink;
  readonly #clock: Clock;
  readonly #options: PumpOptions;
  readonly #onWay = new Set<number>();
  /**
   * Number of QoS 0 messages on the way. It may take long until something proves that they arrived, so they do not occupy the places of the others.
   */
  #quiet = 0;
  #bucket: Bucket = { tokens: 1, atMs: 0 };
  /** Messages above this id were stored during the present connection. */
  #backlogId = Number.MAX_SAFE_INTEGER;
  #timer: NodeJS.Timeout | undefined;

  constructor(outbox: Outbox, link: PumpLink, clock: Clock, options: PumpOptions) {
    this.#outbox = outbox;
    this.#link = link;
    this.#clock = clock;
    this.#options = options;
  }

  start(): void {
    this.#timer ??= setInterval(() => this.kick(), POLL_MS);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Notes a new connection. Messages that are stored from now on are live; those before are backfill. */
  connected(): void {
    this.#backlogId = this.#outbox.lastId();
    this.kick();
  }

  /** Sends what may be sent. This costs little when there is nothing to send, and never throws. */
  kick(): void {
    this.#outbox.delivering = this.#link.connected;
    if (this.#link.connected) this.#guard(() => this.#sendSome());
  }

  #sendSome(): void {
    this.#outbox.retry();
    const live = this.#outbox.next(this.#room(), { newerThan: this.#backlogId });
    this.#sendAll(live, false);
    const waiting = this.#outbox.next(this.#room(), { upTo: this.#backlogId });
    const stop = waiting.findIndex(() => !this.#takeToken());
    this.#sendAll(stop < 0 ? waiting : waiting.slice(0, stop), true);
  }

  #room(): number {
    return this.#options.maxInFlight - (this.#onWay.size - this.#quiet);
  }

  #takeToken(): boolean {
    const { taken, bucket } = takeToken(this.#bucket, this.#clock.monotonicMs(), this.#options.backfillPerSecond);
    this.#bucket = bucket;
    return taken;
  }

  /** Notes that the messages are sent before it sends them. A kill in between costs a second delivery, but loses no window that is on the disk. */
  #sendAll(messages: readonly OutboxMessage[], backfill: boolean): void {
    if (messages.length > 0) this.#outbox.handOver(messages);
    for (const message of messages) this.#send(message, backfill);
  }

  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#options.onFault(toCodedError(error));
    }
  }

  /** Resolves when everything that was on the way is settled, or after `timeoutMs`. */
  async drain(timeoutMs: number): Promise<void> {
    const end = this.#clock.monotonicMs() + timeoutMs;
    while (this.#link.connected && this.#clock.monotonicMs() < end && this.#pending() > 0) {
      this.kick();
      await new Promise((resolve) => { setTimeout(resolve, 20); });
    }
  }

  /** Live messages that are not delivered yet. Messages of QoS 0 need not be waited for, because they stay stored if they failed. */
  #pending(): number {
    return this.#outbox.next(this.#options.maxInFlight, { newerThan: this.#backlogId }).length + this.#onWay.size - this.#quiet;
  }

  #send(message: OutboxMessage, backfill: boolean): void {
    const payload = backfill ? flagBackfill(message.payload) : message.payload;
    if (payload === null) return this.#outbox.drop(message, 'malformed');
    const quiet = message.topic === 'telemetry' && !backfill && this.#options.telemetryQos === 0;
    this.#onWay.add(message.id);
    if (quiet) this.#quiet += 1;
    void this.#link.publish(`${this.#options.prefix}/${message.topic}`, payload, { qos: quiet ? 0 : 1 }).then(
      () => this.#guard(() => this.#outbox.remove(message.id)),
      // Unless the broker refused the message, it stays in the outbox and is sent again.
      (error: unknown) => this.#guard(() => {
        if (error instanceof AgentError && error.code === 'E_BROKER_REFUSED') this.#outbox.drop(message, 'refused');
        else this.#outbox.giveBack(message.id);
      }),
    ).finally(() => {
      this.#onWay.delete(message.id);
      if (quiet) this.#quiet -= 1;
    });
  }
}

/** Sets `backfill` in a JSON payload; null for a payload that is no JSON object. */
function flagBackfill(payload: Buffer): Buffer | null {
  try {
    const value: unknown = JSON.parse(payload.toString('utf8'));
    return typeof value === 'object' && value !== null ? Buffer.from(JSON.stringify({ ...value, backfill: true })) : null;
  } catch {
    return null;
  }
}
