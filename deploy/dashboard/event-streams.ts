import type { DeviceAddress, Event, TelemetryWindow } from '../../agent/contracts/index.js';
import type { Collector } from '../collector/collector.js';
import type { DeviceRecord } from '../collector/store.js';

/** One server-sent event. */
export interface StreamMessage {
  event: 'device' | 'telemetry' | 'event' | 'ping';
  data: string;
}

const MAX_SUBSCRIBERS = 32;
/** Messages that a reader may be behind; one that is further behind loads everything again. */
const MAX_BACKLOG = 256;
const PING_MS = 15_000;

/** A reader's queue: an async iterator that ends when the reader is too slow or the server stops. */
export class Subscription implements AsyncIterable<StreamMessage> {
  readonly #queue: StreamMessage[] = [];
  #wake: (() => void) | null = null;
  #ended = false;

  push(message: StreamMessage): void {
    if (this.#queue.length >= MAX_BACKLOG) this.#ended = true;
    else this.#queue.push(message);
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<StreamMessage, void, undefined> {
    for (;;) {
      const message = this.#queue.shift();
      if (message !== undefined) yield message;
      else if (this.#ended) return;
      else await new Promise<void>((resolve) => { this.#wake = resolve; });
    }
  }
}

/** Passes what the collector receives on to any number of readers (up to a bound). */
export class EventStreams {
  readonly #collector: Collector;
  readonly #subscriptions = new Set<Subscription>();
  #ping: NodeJS.Timeout | null = null;

  constructor(collector: Collector) {
    this.#collector = collector;
  }

  start(): void {
    if (this.#ping !== null) return;
    this.#collector.on('device', this.#onDevice).on('telemetry', this.#onTelemetry).on('event', this.#onEvent);
    this.#ping = setInterval(() => this.#send({ event: 'ping', data: String(Date.now()) }), PING_MS);
  }

  stop(): void {
    if (this.#ping !== null) clearInterval(this.#ping);
    this.#ping = null;
    this.#collector.off('device', this.#onDevice).off('telemetry', this.#onTelemetry).off('event', this.#onEvent);
    for (const subscription of this.#subscriptions) subscription.end();
    this.#subscriptions.clear();
  }

  /** Null when there are too many readers already. */
  subscribe(): Subscription | null {
    if (this.#subscriptions.size >= MAX_SUBSCRIBERS) return null;
    const subscription = new Subscription();
    this.#subscriptions.add(subscription);
    return subscription;
  }

  unsubscribe(subscription: Subscription): void {
    subscription.end();
    this.#subscriptions.delete(subscription);
  }

  readonly #onDevice = ({ fleet, device }: DeviceRecord): void => this.#send({ event: 'device', data: JSON.stringify({ fleet, device }) });
  readonly #onTelemetry = ({ fleet, device }: DeviceAddress, window: TelemetryWindow): void => {
    this.#send({ event: 'telemetry', data: JSON.stringify({ fleet, device, seq: window.seq }) });
  };
  readonly #onEvent = ({ fleet, device }: DeviceAddress, event: Event): void => this.#send({ event: 'event', data: JSON.stringify({ fleet, device, event }) });

  #send(message: StreamMessage): void {
    for (const subscription of this.#subscriptions) subscription.push(message);
  }
}
