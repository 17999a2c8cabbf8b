/** Collects the measurements of single frames, and makes the latency part of a telemetry window from them. */
import { delayVariation, Histogram, onlyHistogram, withQuantiles, type FrameKind, type JitterReport, type PipelineWindow } from '../contracts/index.js';
import { kindOf, latencyOf, type FrameRecorder, type ProcessedFrame } from '../ground/frames.js';
import { initialJitter, stepJitter } from './jitter.js';

/** Most frames that one gap may stand for. After a suspend, a gap in the times does not mean that frames were missed. */
const MAX_CORRECTED_FRAMES = 1000;

type Series = Pick<PipelineWindow, 'stages' | 'end_to_end'> & { jitter: JitterReport; modelFrames: number };

export class Recorder implements FrameRecorder {
  readonly #deadlineMs: number;
  #stages = new Map<string, Histogram>();
  #raw = new Map<FrameKind, Histogram>();
  #corrected = new Map<FrameKind, Histogram>();
  #jitter = initialJitter;
  #missed = 0;
  #frames = 0;
  #modelFrames = 0;
  #deadlines = { frames: 0, missed: 0 };

  constructor(deadlineMs: number) {
    this.#deadlineMs = deadlineMs;
  }

  record(processed: ProcessedFrame, intervalMs: number | null): void {
    const kind = kindOf(processed);
    const latencyMs = rounded(latencyOf(processed));
    for (const { stage, ms } of processed.result.stages) at(this.#stages, `${stage}/${kind}`).record(rounded(ms));
    at(this.#raw, kind).record(latencyMs);
    const corrected = at(this.#corrected, kind);
    corrected.record(latencyMs);
    if (intervalMs !== null) {
      // Each dropped frame would have waited for this result, because it was due k intervals before this one.
      const missing = Math.min(processed.droppedBefore, MAX_CORRECTED_FRAMES);
      for (let k = 1; k <= missing; k++) corrected.record(rounded(latencyMs + k * intervalMs));
    }
    this.#jitter = stepJitter(this.#jitter, processed.frame.capturedMs, processed.doneMs);
    this.#frames += 1;
    if (kind !== 'pixels') this.#modelFrames += 1;
    const missed = latencyMs > this.#deadlineMs ? 1 : 0;
    this.#missed += missed;
    this.#deadlines = { frames: this.#deadlines.frames + 1, missed: this.#deadlines.missed + missed };
  }

  /** Frames with a deadline since the start, and how many of them missed it. */
  get deadlines(): { frames: number; missed: number } {
    return this.#deadlines;
  }

  stage(stage: string, processed: ProcessedFrame, ms: number): void {
    at(this.#stages, `${stage}/${kindOf(processed)}`).record(rounded(ms));
  }

  /** Ends the window, returns what it collected, and begins the next. */
  close(): Series {
    const endToEnd = [...this.#series(this.#raw, 'raw'), ...this.#series(this.#corrected, 'corrected')];
    const stages = [...this.#stages].map(([key, histogram]) => {
      const [stage = '', kind] = key.split('/');
      return { stage, kind: kind as FrameKind, ...described(kind === 'warm', histogram) };
    });
    const jitter: JitterReport = {
      rfc3550_ms: rounded(this.#jitter.jitterMs),
      ...delayVariation(endToEnd.filter((s) => s.clock === 'raw').map((s) => s.latency_ms)),
      deadline_ms: this.#deadlineMs,
      deadlines_missed: this.#missed,
      deadlines: this.#frames,
    };
    const modelFrames = this.#modelFrames;
    this.#stages = new Map();
    this.#raw = new Map();
    this.#corrected = new Map();
    this.#missed = 0;
    this.#frames = 0;
    this.#modelFrames = 0;
    return { stages, end_to_end: endToEnd, jitter, modelFrames };
  }

  #series(histograms: ReadonlyMap<FrameKind, Histogram>, clock: 'raw' | 'corrected'): PipelineWindow['end_to_end'] {
    return [...histograms].map(([kind, histogram]) => ({ clock, kind, ...described(kind === 'warm' && clock === 'raw', histogram) }));
  }
}

/** Describes a histogram. Quantiles are added only for readers, such as people, who do not compute them from the histogram. */
function described(plain: boolean, histogram: Histogram): ReturnType<typeof withQuantiles> {
  return plain ? withQuantiles(histogram.toData()) : onlyHistogram(histogram.toData());
}

/**
 * Rounds to 0.1 microseconds and at most five digits, which is finer than the noise of the clock. This saves up to 12 digits in each number of a
 * window.
 */
function rounded(ms: number): number {
  return Number((Math.round(Math.max(0, ms) * 1e4) / 1e4).toPrecision(5));
}

function at<K>(histograms: Map<K, Histogram>, key: K): Histogram {
  const known = histograms.get(key);
  if (known !== undefined) return known;
  const histogram = new Histogram();
  histograms.set(key, histogram);
  return histogram;
}
