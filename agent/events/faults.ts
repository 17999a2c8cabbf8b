/** Faults: raised once, however often the trouble repeats, and cleared when it is over. */
import { redact } from '../../runtime/redact.js';
import type { FaultEvent } from '../contracts/index.js';
import type { CodedError } from '../errors.js';
import type { Clock } from '../platform/clock.js';
import type { Log } from '../platform/log.js';
import type { Counters } from '../telemetry/counters.js';
import type { EventSink } from './sink.js';

export type Component = FaultEvent['component'];

/** A fault that nobody clears is raised again when it recurs after this time. */
const REPEAT_MS = 600_000;

export class Faults {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #counters: Counters;
  readonly #active = new Map<string, { component: Component; error: CodedError; atMs: number }>();
  #sink: EventSink | null = null;
  #onChange: () => void = () => undefined;
  #last: (CodedError & { time_ms: number }) | null = null;

  constructor(clock: Clock, log: Log, counters: Counters) {
    this.#clock = clock;
    this.#log = log;
    this.#counters = counters;
  }

  /** The sink needs the outbox, and the outbox raises faults: it comes second. */
  connect(sink: EventSink): void {
    this.#sink = sink;
  }

  /** Told whenever a fault begins or ends. One listener: the report. */
  watch(onChange: () => void): void {
    this.#onChange = onChange;
  }

  get last(): (CodedError & { time_ms: number }) | null {
    return this.#last;
  }

  get active(): { component: Component; error: CodedError }[] {
    return [...this.#active.values()].map(({ component, error }) => ({ component, error }));
  }

  raise(component: Component, raised: CodedError, severity: FaultEvent['severity'] = 'error'): void {
    const error = { ...raised, message: redact(raised.message) };
    const key = `${component}/${error.code}`;
    const nowMs = this.#clock.monotonicMs();
    const known = this.#active.get(key);
    if (known !== undefined && nowMs - known.atMs < REPEAT_MS) return;
    // Noted before the event is emitted: emitting may raise the same fault (a full disk), and must not do so for ever.
    this.#active.set(key, { component, error, atMs: nowMs });
    this.#last = { ...error, time_ms: this.#clock.nowMs() };
    this.#counters.add('faults_total');
    this.#log[severity === 'error' ? 'error' : 'warn'](error.message, { component, code: error.code });
    this.#sink?.emit({ type: 'fault', component, severity, cleared: false, error: bounded(error) });
    this.#onChange();
  }

  /** Everything of a component, or one code of it, is right again. */
  clear(component: Component, code?: string): void {
    for (const [key, fault] of this.#active) {
      if (fault.component !== component || (code !== undefined && fault.error.code !== code)) continue;
      this.#active.delete(key);
      this.#log.info('fault cleared', { component, code: fault.error.code });
      this.#sink?.emit({ type: 'fault', component, severity: 'warning', cleared: true, error: bounded(fault.error) });
      this.#onChange();
    }
  }
}

function bounded(error: CodedError): CodedError {
  return { code: error.code, message: error.message.slice(0, 4096) };
}
