/** Every event of the daemon goes through here. It is sent to the broker (by the outbox), to local listeners, and into the short history. */
import { randomUUID } from 'node:crypto';
import { encodePayload, eventSchema, SCHEMA_VERSION, type Event } from '../contracts/index.js';
import { toCodedError } from '../errors.js';
import type { EventBody, EventPort, KeptEvent } from '../ground/events.js';
import type { Outbox } from '../outbox/outbox.js';
import type { Clock } from '../platform/clock.js';
import type { Log } from '../platform/log.js';

const KEPT_EVENTS = 100;

export class EventSink implements EventPort {
  readonly #outbox: Pick<Outbox, 'put'>;
  readonly #clock: Clock;
  readonly #bootId: string;
  readonly #log: Log;
  readonly #listeners = new Set<(event: Event, id: string) => void>();
  #kept: KeptEvent[] = [];
  #count = 0;

  constructor(outbox: Pick<Outbox, 'put'>, clock: Clock, bootId: string, log: Log) {
    this.#outbox = outbox;
    this.#clock = clock;
    this.#bootId = bootId;
    this.#log = log;
  }

  /**
   * The kept events (at most 100) that came after the event with this id, oldest first. All kept events for null, and for an id of an earlier start,
   * whose events are no longer kept.
   */
  since(id: string | null): readonly KeptEvent[] {
    const [boot, number] = (id ?? '').split(':');
    if (boot !== this.#bootId) return this.#kept;
    return this.#kept.slice(Math.max(0, this.#kept.length - Math.max(0, this.#count - Number(number))));
  }

  /** Calls the listener for each event from now on. @returns a function that stops it */
  listen(listener: (event: Event, id: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  emit(body: EventBody): string {
    const timeMs = this.#clock.nowMs();
    const event: Event = {
      ...body, schema_version: SCHEMA_VERSION, event_id: randomUUID(), boot_id: this.#bootId, time_ms: timeMs,
      clock_synchronized: this.#clock.synchronized(), backfill: false,
    };
    this.#count += 1;
    const id = `${this.#bootId}:${this.#count}`;
    this.#kept = [...this.#kept.slice(1 - KEPT_EVENTS), { id, event }];
    for (const listener of this.#listeners) listener(event, id);
    try {
      const important = event.type !== 'finding';
      this.#outbox.put({ class: important ? 'critical' : 'event', topic: `event/${event.type}`, payload: encodePayload(eventSchema, event) });
    } catch (error) {
      this.#log.error('an event cannot be encoded', { ...toCodedError(error), type: event.type });
    }
    return event.event_id;
  }
}
