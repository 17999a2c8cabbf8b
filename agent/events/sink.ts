/** Every event of the daemon goes through here: to the broker (outbox), to whoever listens locally, and to the short history. */
import { randomUUID } from 'node:crypto';
import { encodePayload, eventSchema, type Event, type FaultEvent, type ModelEvent, type RecognitionEvent } from '../contracts/index.js';
import { toCodedError } from '../errors.js';
import type { Outbox } from '../outbox/outbox.js';
import type { Clock } from '../platform/clock.js';
import type { Log } from '../platform/log.js';

type Common = 'schema_version' | 'event_id' | 'boot_id' | 'time_ms' | 'clock_synchronised' | 'backfill';
export type EventBody = Omit<RecognitionEvent, Common> | Omit<FaultEvent, Common> | Omit<ModelEvent, Common>;

const KEPT_EVENTS = 100;

export class EventSink {
  readonly #outbox: Pick<Outbox, 'put'>;
  readonly #clock: Clock;
  readonly #bootId: string;
  readonly #log: Log;
  readonly #listeners = new Set<(event: Event) => void>();
  #recent: Event[] = [];

  constructor(outbox: Pick<Outbox, 'put'>, clock: Clock, bootId: string, log: Log) {
    this.#outbox = outbox;
    this.#clock = clock;
    this.#bootId = bootId;
    this.#log = log;
  }

  /** Newest last. */
  get recent(): readonly Event[] {
    return this.#recent;
  }

  /** @returns how to stop listening */
  listen(listener: (event: Event) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  emit(body: EventBody): void {
    const timeMs = this.#clock.nowMs();
    const event: Event = {
      ...body, schema_version: 1, event_id: randomUUID(), boot_id: this.#bootId, time_ms: timeMs,
      clock_synchronised: this.#clock.synchronised(), backfill: false,
    };
    this.#recent = [...this.#recent.slice(1 - KEPT_EVENTS), event];
    for (const listener of this.#listeners) listener(event);
    try {
      const important = event.type !== 'recognition';
      this.#outbox.put({ class: important ? 'critical' : 'event', topic: `event/${event.type}`, payload: encodePayload(eventSchema, event) });
    } catch (error) {
      this.#log.error('an event cannot be encoded', { ...toCodedError(error), type: event.type });
    }
  }
}
