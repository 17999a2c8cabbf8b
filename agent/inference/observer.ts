/** Handles what follows from a processed frame: telemetry, counters, presence events, and the live view. */
import { isSound, timeOf, type AnySample } from '../../runtime/frame.js';
import type { SoundReport, StageTime } from '../../runtime/stages/types.js';
import type { GateReport, Strictness } from '../../runtime/vision/gates/audit.js';
import type { FindingEvent, WireFinding } from '../contracts/index.js';
import type { CodedError } from '../errors.js';
import type { FaultPort } from '../ground/faults.js';
import type { EventPort } from '../ground/events.js';
import { epochOf, type Clock } from '../platform/clock.js';
import type { EventRecorder } from '../recordings/event-recorder.js';
import type { PipelineCounters } from '../ground/counters.js';
import { latencyOf, type FrameRecorder, type LiveSample, type LiveSound, type ProcessedFrame, type Running } from '../ground/frames.js';
import { emptyHearing, endAll, stepHearing, type HearingState } from './hearing.js';
import { emptyPresence, leaveAll, presentNow, stepPresence, type PresenceEvent, type PresenceOptions, type PresenceState } from './presence.js';
import { SoundFaults } from './sound-faults.js';
import { wireCells, wireFinding } from './wire-finding.js';

/** If this many frames in a row fail, the pipeline is broken; fewer may just be bad frames. */
const FAILURES_TO_FAULT = 10;

export interface ObserverParts {
  pipeline: string;
  recorder: FrameRecorder;
  /** Counts the frame for `/metrics`. */
  observe: (processed: ProcessedFrame) => void;
  counters: PipelineCounters;
  events: EventPort;
  faults: FaultPort;
  clock: Clock;
  presence: PresenceOptions;
  /** Keeps pictures of what appears. Absent when the configuration keeps none. */
  recordings?: EventRecorder;
  /** Called when the running package fails frame after frame. */
  onFailing: (running: Running, error: CodedError) => void;
}

export class FrameObserver {
  readonly #parts: ObserverParts;
  readonly #listeners = new Set<(frame: LiveSample) => void>();
  readonly #sound: SoundFaults;
  #presence: PresenceState = emptyPresence;
  #hearing: HearingState = emptyHearing;
  #last: ProcessedFrame | null = null;
  #failures = 0;
  #strictness: Strictness = 'set';

  constructor(parts: ObserverParts) {
    this.#parts = parts;
    this.#sound = new SoundFaults(parts.faults);
  }

  /** Who and what is in sight now, and which sounds are heard. */
  get present(): (WireFinding & { since_ms: number })[] {
    const { clock } = this.#parts;
    const seen = presentNow(this.#presence).map(({ finding, sinceMs }) => ({ ...wireFinding(finding), since_ms: epochOf(clock, sinceMs) }));
    const last = this.#last;
    if (last === null) return seen;
    const epoch = this.#epochOf(last.frame);
    return [...seen, ...[...this.#hearing.values()].map((sound) => ({ ...wireFinding(sound, epoch), since_ms: epoch(sound.onsetMs) }))];
  }

  listen(listener: (frame: LiveSample) => void): () => void {
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
    const { frame, result } = processed;
    const published = result.sound === undefined ? [] : this.#heard(processed, result.sound);
    if (result.sound === undefined) {
      if (!isSound(frame)) this.#parts.recordings?.frame(frame);
      const step = stepPresence(this.#presence, { ...result, identifies: processed.running.model.pipeline.embeddingSpaceId !== null }, presence);
      this.#presence = step.state;
      for (const event of step.events) this.#emit(event, processed);
    }
    if (this.#listeners.size > 0) this.#show(processed, published);
  }

  /** Handles a piece of sound: what began or ended in it. Returns how long it took to report that, if there was anything to report. */
  #heard(processed: ProcessedFrame, { problems }: SoundReport): StageTime[] {
    const { clock, recorder } = this.#parts;
    this.#sound.note(problems);
    const step = stepHearing(this.#hearing, processed.result.findings);
    this.#hearing = step.state;
    if (step.events.length === 0) return [];
    const startedMs = clock.monotonicMs();
    for (const event of step.events) this.#emit(event, processed);
    const published = { stage: 'publish', ms: clock.monotonicMs() - startedMs };
    recorder.stage(published.stage, processed, published.ms);
    return [published];
  }

  /** Reports what the audit of the gates has shown, and whether it made them stricter. */
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

  /** Called when the camera or the microphone went away. */
  cameraGone(): void {
    this.#parts.recordings?.ended();
    const last = this.#last;
    if (last !== null) for (const event of [...leaveAll(this.#presence), ...endAll(this.#hearing)]) this.#emit(event, last);
    this.#sound.note([]);
    this.#presence = emptyPresence;
    this.#hearing = emptyHearing;
    this.#last = null;
  }

  /** The frame interval by the source's own time stamps, from two neighbouring frames. Milliseconds; null when it is unknown. */
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
    const finding = wireFinding(event.finding, this.#epochOf(frame));
    const id = events.emit({
      type: 'finding',
      pipeline,
      action: event.action,
      finding,
      frame: { sequence: frame.sequence, captured_ms: epochOf(clock, frame.capturedMs), exit: result.exit },
      ...(event.visibleMs === undefined ? {} : { visible_ms: Math.max(0, event.visibleMs) }),
      stages_ms: stages,
      total_ms: result.totalMs,
      latency_ms: latencyOf(processed),
      model: { name: running.slot.name, version: running.slot.version },
    });
    if (event.action === 'appeared' && !isSound(frame)) this.#parts.recordings?.event({ id, timeMs: clock.nowMs(), finding }, frame, result.findings.map((one) => wireFinding(one)));
  }

  /** A function that converts the times of this sample's findings to milliseconds since 1970. */
  #epochOf(frame: AnySample): (ms: number) => number {
    return (ms) => epochOf(this.#parts.clock, frame.capturedMs + ms - timeOf(frame));
  }

  #show(processed: ProcessedFrame, published: readonly StageTime[]): void {
    const live = this.#live(processed, published);
    for (const listener of this.#listeners) listener(live);
  }

  #live(processed: ProcessedFrame, published: readonly StageTime[]): LiveSample {
    const { frame, result, running } = processed;
    const epoch = this.#epochOf(frame);
    const common = {
      pipeline: this.#parts.pipeline, sequence: frame.sequence, captured_ms: epochOf(this.#parts.clock, frame.capturedMs), exit: result.exit,
      latency_ms: latencyOf(processed), findings: result.findings.map((finding) => wireFinding(finding, epoch)),
    };
    const { sound } = result;
    if (sound !== undefined) return { ...common, ...liveSound(sound), stages: [...result.stages, ...published], deadline_ms: running.model.pipeline.sound?.deadlineMs ?? 0 };
    const { width, height } = isSound(frame) ? { width: 0, height: 0 } : frame;
    return { ...common, width, height, cells: result.cells === null ? null : wireCells(result.cells), audit: result.audit, total_ms: result.totalMs };
  }
}

function liveSound({ levelDb, floorDb, scores, problems, spectrum, late }: SoundReport): Pick<LiveSound, 'level_db' | 'floor_db' | 'scores' | 'problems' | 'spectrum' | 'late'> {
  return { level_db: levelDb, floor_db: floorDb, scores, problems, late, spectrum: spectrum === null ? null : { bands: spectrum.bands, rows: Buffer.from(spectrum.rows).toString('base64') } };
}

function strictnessFault(now: Strictness, before: Strictness, gates: GateReport | undefined): CodedError {
  const counted = `${gates?.misses ?? 0} of ${gates?.audits ?? 0} frames or windows of sound that had stopped and were run in full showed something new`;
  return now === 'off'
    ? { code: 'E_GATE_OFF', message: `The gates missed too much even when tightened, and are off: everything runs in full (${counted}). Calibrate them on footage of this camera or sound of this microphone, and publish the package again` }
    : { code: 'E_GATE_TIGHTENED', message: `The gates missed more than their limit and were tightened (${before} -> ${now}): ${counted}` };
}
