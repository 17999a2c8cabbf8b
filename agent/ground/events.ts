/** What an event is before and after it is sent; `events/sink.ts` sends them. */
import type { AdaptationEvent, Event, FaultEvent, FindingEvent, GovernorEvent, ModelEvent } from '../contracts/index.js';

type Common = 'schema_version' | 'event_id' | 'boot_id' | 'time_ms' | 'clock_synchronized' | 'backfill';
export type EventBody = Omit<FindingEvent, Common> | Omit<FaultEvent, Common> | Omit<ModelEvent, Common> | Omit<GovernorEvent, Common> | Omit<AdaptationEvent, Common>;

/** An event with its place in the order of this start's events. */
export interface KeptEvent {
  /** `{boot_id}:{number}`; the number grows by one from event to event. */
  id: string;
  event: Event;
}

export const eventIdPattern = /^[A-Za-z0-9-]{1,64}:\d{1,15}$/;

/** Where parts emit their events. */
export interface EventPort {
  /** @returns the event's id */
  emit(body: EventBody): string;
}
