/** The faults of the daemon. A fault is raised once, however often the trouble repeats, and is cleared when the trouble is over. */
import { redact } from '../../runtime/redact.js';
import type { CodedError } from '../errors.js';
import type { Clock } from '../platform/clock.js';
import type { Log } from '../platform/log.js';
import type { DeviceCounters } from '../ground/counters.js';
import type { ActiveFault, Component, FaultPort, Severity } from '../ground/faults.js';
import type { EventSink } from './sink.js';

/** A fault that nobody clears is raised again when it recurs after this time. */
const REPEAT_MS = 600_000;

export class Faults implements FaultPort {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #counters: DeviceCounters;
  readonly #active = new Map<string, { pipeline: string | null; component: Component; error: CodedError; atMs: number }>();
  #sink: EventSink | null = null;
  #onChange: () => void = () => undefined;
  #last: (CodedError & { time_ms: number }) | null = null;

  constructor(clock: Clock, log: Log, counters: DeviceCounters) {
    this.#clock = clock;
    this.#log = log;
    this.#counters = counters;
  }

  /** Sets where events go. This comes after the constructor, because the sink needs the outbox, and the outbox already raises faults. */
  connect(sink: EventSink): void {
    this.#sink = sink;
  }

  /** Calls `onChange` whenever a fault begins or ends. There is one listener: the report. */
  watch(onChange: () => void): void {
    this.#onChange = onChange;
  }

  get last(): (CodedError & { time_ms: number }) | null {
    return this.#last;
  }

  get active(): ActiveFault[] {
    return [...this.#active.values()].map(({ pipeline, component, error }) => ({ pipeline, component, error }));
  }

  /** A port for the faults of one pipeline, which are kept apart from those of the others and of the device. */
  of(pipeline: string): FaultPort {
    return {
      raise: (component, error, severity) => this.#raise(pipeline, component, error, severity),
      clear: (component, code) => this.#clear(pipeline, component, code),
    };
  }

  raise(component: Component, error: CodedError, severity?: Severity): void {
    this.#raise(null, component, error, severity);
  }

  clear(component: Component, code?: string): void {
    this.#clear(null, component, code);
  }

  #raise(pipeline: string | null, component: Component, raised: CodedError, severity: Severity = 'error'): void {
    const error = { ...raised, message: redact(raised.message) };
    const key = `${pipeline ?? ''}/${component}/${error.code}`;
    const nowMs = this.#clock.monotonicMs();
    const known = this.#active.get(key);
    if (known !== undefined && nowMs - known.atMs < REPEAT_MS) return;
    // The fault is noted before its event is emitted: emitting may raise the same fault (a full disk), and must not repeat that for ever.
    this.#active.set(key, { pipeline, component, error, atMs: nowMs });
    this.#last = { ...error, time_ms: this.#clock.nowMs() };
    this.#counters.add('faults_total');
    this.#log[severity === 'error' ? 'error' : 'warn'](error.message, { ...ofPipeline(pipeline), component, code: error.code });
    this.#sink?.emit({ type: 'fault', pipeline, component, severity, cleared: false, error: bounded(error) });
    this.#onChange();
  }

  #clear(pipeline: string | null, component: Component, code?: string): void {
    for (const [key, fault] of this.#active) {
      if (fault.pipeline !== pipeline || fault.component !== component || (code !== undefined && fault.error.code !== code)) continue;
      this.#active.delete(key);
      this.#log.info('fault cleared', { ...ofPipeline(pipeline), component, code: fault.error.code });
      this.#sink?.emit({ type: 'fault', pipeline, component, severity: 'warning', cleared: true, error: bounded(fault.error) });
      this.#onChange();
    }
  }
}

const ofPipeline = (pipeline: string | null): { pipeline?: string } => (pipeline === null ? {} : { pipeline });

function bounded(error: CodedError): CodedError {
  return { code: error.code, message: error.message.slice(0, 4096) };
}
