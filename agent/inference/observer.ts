/** What follows from a processed frame: telemetry, counters, presence events, and the live view. */
import type { GateReport, Strictness } from '../../runtime/vision/gates/audit.js';
import type { FindingEvent, WireFinding } from '../contracts/index.js';
import type { CodedError } from '../errors.js';
import type { FaultPort } from '../ground/faults.js';
import type { EventPort } from '../ground/events.js';
import { epochOf, type Clock } from '../platform/clock.js';
import type { EventRecorder } from '../recordings/event-recorder.js';
import type { PipelineCounters } from '../ground/counters.js';
import type { FrameRecorder, LiveFrame, ProcessedFrame, Running } from '../ground/frames.js';
import { emptyPresence, leaveAll, presentNow, stepPresence, type PresenceEvent, type PresenceOptions, type PresenceState } from './presence.js';
import { wireCells, wireFinding } from './wire-finding.js';

/** So many failed frames in a row are a broken pipeline, not a bad frame. */
const FAILURES_TO_FAULT = 10;

export interface ObserverParts {
  pipeline: string;
  recorder: FrameRecorder;
  /** For `/metrics`. */
  observe: (processed: ProcessedFrame) => void;
  counters: PipelineCounters;
  events: EventPort;
  faults: FaultPort;
  clock: Clock;
  presence: PresenceOptions;
  /** Keeps pictures of what appears. */
  recordings?: EventRecorder;
  /** The running package fails frame after frame. */
  onFailing: (running: Running, error: CodedError) => void;
}

export class FrameObserver {
  readonly #parts: ObserverParts;
  readonly #listeners = new Set<(frame: LiveFrame) => void>();
  #presence: PresenceState = emptyPresence;
  #last: ProcessedFrame | null = null;
  #failures = 0;
  #strictness: Strictness = 'set';

  constructor(parts: ObserverParts) {
    this.#parts = parts;
  }

  /** Who and what is in sight now. */
  get present(): (WireFinding & { since_ms: number })[] {
    return presentNow(this.#presence).map(({ finding, sinceMs }) => ({ ...wireFinding(finding), since_ms: epochOf(this.#parts.clock, sinceMs) }));
  }

  listen(listener: (frame: LiveFrame) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  frame(processed: ProcessedFrame): void {
    const { recorder, observe, counters, faults, presence } = this.#parts;
    recorder.record(processed, this.#interval(processed));
    observe(processed);
    counters.add('frames_processed_total');
    counters.add(`frames_exit_${processed.result.exit}_total`);
    counters.add('frames_dropped_total', processed.droppedBefore);
    counters.add('frames_dropped_by_swap_total', processed.droppedBySwap);
    counters.add('findings_total', processed.result.findings.length);
    if (this.#failures > 0) faults.clear('pipeline', 'E_PIPELINE');
    this.#failures = 0;
    this.#gates(processed);
    this.#last = processed;
    this.#parts.recordings?.frame(processed.frame);
    const step = stepPresence(this.#presence, { ...processed.result, identifies: processed.running.model.pipeline.embeddingSpaceId !== null }, presence);
    this.#presence = step.state;
    for (const event of step.events) this.#emit(event, processed);
    if (this.#listeners.size > 0) this.#show(processed);
  }

  /** What the audit of the gates has shown, and whether it made them stricter. */
  #gates({ running: { model } }: ProcessedFrame): void {
    const { gates } = model.pipeline;
    const { counters, faults } = this.#parts;
    const now = gates?.strictness ?? 'set';
    if (now !== this.#strictness) {
      const before = this.#strictness;
      this.#strictness = now;
      if (now === 'set' || now === 'off') faults.clear('pipeline', 'E_GATE_TIGHTENED');
      if (now === 'set') faults.clear('pipeline', 'E_GATE_OFF');
      else faults.raise('pipeline', strictnessFault(now, before, gates), 'warning');
    }
    if (gates === undefined) return;
    counters.set('gate_audits_total', gates.audits);
    counters.set('gate_misses_total', gates.misses);
    counters.set('gate_unsure_total', gates.unsure);
    counters.set('gate_audits_skipped_total', gates.skipped);
  }

  failed(running: Running, error: CodedError): void {
    this.#parts.counters.add('frames_failed_total');
    this.#failures += 1;
    if (this.#failures !== FAILURES_TO_FAULT) return;
    this.#parts.faults.raise('pipeline', { code: 'E_PIPELINE', message: `The pipeline failed on ${this.#failures} frames in a row: ${error.code}: ${error.message}` });
    this.#parts.onFailing(running, error);
  }

  /** The camera went away. */
  cameraGone(): void {
    this.#parts.recordings?.ended();
    const last = this.#last;
    if (last !== null) for (const event of leaveAll(this.#presence)) this.#emit(event, last);
    this.#presence = emptyPresence;
    this.#last = null;
  }

  /** Of the source's own time-table, from two neighbouring frames. */
  #interval(processed: ProcessedFrame): number | null {
    const last = this.#last;
    if (last === null || processed.frame.sequence <= last.frame.sequence) return null;
    const interval = (processed.frame.capturedMs - last.frame.capturedMs) / (processed.frame.sequence - last.frame.sequence);
    return interval > 0 ? interval : null;
  }

  #emit(event: PresenceEvent, processed: ProcessedFrame): void {
    const { pipeline, clock, events, counters } = this.#parts;
    const { frame, result, running } = processed;
    const stages: FindingEvent['stages_ms'] = {};
    for (const { stage, ms } of result.stages) stages[stage] = (stages[stage] ?? 0) + Math.max(0, ms);
    counters.add('finding_events_total');
    const finding = wireFinding(event.finding);
    const id = events.emit({
      type: 'finding',
      pipeline,
      action: event.action,
      finding,
      frame: { sequence: frame.sequence, captured_ms: epochOf(clock, frame.capturedMs), exit: result.exit },
      ...(event.visibleMs === undefined ? {} : { visible_ms: Math.max(0, event.visibleMs) }),
      stages_ms: stages,
      total_ms: result.totalMs,
      latency_ms: Math.max(0, processed.doneMs - frame.capturedMs),
      model: { name: running.slot.name, version: running.slot.version },
    });
    if (event.action === 'appeared') this.#parts.recordings?.event({ id, timeMs: clock.nowMs(), finding }, frame, result.findings.map(wireFinding));
  }

  #show({ frame, result, doneMs }: ProcessedFrame): void {
    const live: LiveFrame = {
      pipeline: this.#parts.pipeline,
      sequence: frame.sequence,
      captured_ms: epochOf(this.#parts.clock, frame.capturedMs),
      width: frame.width,
      height: frame.height,
      exit: result.exit,
      cells: result.cells === null ? null : wireCells(result.cells),
      audit: result.audit,
      total_ms: result.totalMs,
      latency_ms: Math.max(0, doneMs - frame.capturedMs),
      findings: result.findings.map(wireFinding),
    };
    for (const listener of this.#listeners) listener(live);
  }
}

function strictnessFault(now: Strictness, before: Strictness, gates: GateReport | undefined): CodedError {
  const counted = `${gates?.misses ?? 0} of ${gates?.audits ?? 0} frames that had stopped and were run in full showed something new`;
  return now === 'off'
    ? { code: 'E_GATE_OFF', message: `The gates missed too much even when tightened, and are off: every frame runs in full (${counted}). Calibrate them on footage of this camera, and publish the package again` }
    : { code: 'E_GATE_TIGHTENED', message: `The gates missed more than their limit and were tightened (${before} -> ${now}): ${counted}` };
}
