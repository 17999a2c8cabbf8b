/**
 * Opens the camera or microphone, takes its frames through the running pipeline, and opens it again when it is lost. The loop goes on without a
 * camera, without a package, and when a pipeline fails.
 */
import { isSound, type AnySample, type SampleSource } from '../../runtime/frame.js';
import type { PipelineResult } from '../../runtime/pipeline/types.js';
import { releasePicture } from '../../runtime/picture-memory.js';
import { toCodedError, type CodedError } from '../errors.js';
import { nextBackoff } from '../ground/backoff.js';
import type { ProcessedFrame, Running } from '../ground/frames.js';
import type { Clock } from '../platform/clock.js';
import type { Turns } from './engine-turns.js';
import type { PipelineSlot } from './pipeline-slot.js';

/** The kind of input that feeds a pipeline. */
export type Medium = 'camera' | 'microphone';

/** The code of the fault when each is lost. */
export const lostCodes = { camera: 'E_CAMERA_LOST', microphone: 'E_MICROPHONE_LOST' } as const satisfies Record<Medium, string>;

export type CameraState = 'none' | 'opening' | 'running' | 'ended' | 'lost';

/** A frame's picture is written over after the next frame, unless a handler keeps it (`keepPicture`). */
export interface LoopHandlers {
  /** Called for each frame that arrives. `source` has the number of its damaged frames so far, and what its clock is like. */
  onArrival?(frame: AnySample, source: Pick<SampleSource<AnySample>, 'broken' | 'clock'>): void;
  onFrame(processed: ProcessedFrame): void;
  /** Called for a frame that was left out because of the pace. */
  onPaced?(): void;
  /** Called for a frame that no package processed, because none runs. */
  onIdleFrame(frame: AnySample): void;
  onPipelineError(running: Running, error: CodedError): void;
  onCamera(state: CameraState, error: CodedError | null): void;
}

export interface LoopOptions {
  input: string | null;
  /** Live sources (cameras, streams) never end by themselves, so the end of one counts as a loss. */
  live: boolean;
  open: (signal: AbortSignal) => SampleSource<AnySample>;
  /** The kind of input; the default is a camera. */
  medium?: Medium;
  /** Who may use the engine when. If absent, this pipeline has the engine to itself. */
  turns?: { name: string; of: Turns };
  random?: () => number;
  backoff?: { baseMs: number; capMs: number };
}

const REOPEN_BASE_MS = 500;
const REOPEN_CAP_MS = 30_000;

export class InferenceLoop {
  readonly #slot: PipelineSlot;
  readonly #clock: Clock;
  readonly #options: LoopOptions;
  readonly #handlers: LoopHandlers;
  #stop = new AbortController();
  #reopen: AbortController | null = null;
  #done: Promise<void> | null = null;
  #latest: { frame: AnySample; result: PipelineResult | null } | null = null;
  #camera: CameraState = 'none';
  #busySinceMs: number | null = null;
  #swapping: { running: Running | null; dropped: number } = { running: null, dropped: 0 };
  #frames = 0;
  #pace = 1;
  /** Frames that are due, as a fraction. When it reaches 1, one frame is taken. */
  #due = 0;

  constructor(slot: PipelineSlot, clock: Clock, options: LoopOptions, handlers: LoopHandlers) {
    this.#slot = slot;
    this.#clock = clock;
    this.#options = options;
    this.#handlers = handlers;
  }

  /** The newest frame with its result (null while no package runs). Whoever reads its picture later has to keep it (`keepPicture`). */
  get latest(): { frame: AnySample; result: PipelineResult | null } | null {
    return this.#latest;
  }

  get medium(): Medium {
    return this.#options.medium ?? 'camera';
  }

  get camera(): CameraState {
    return this.#camera;
  }

  /** Number of frames that were taken from the source. */
  get frames(): number {
    return this.#frames;
  }

  /**
   * Since when the pipeline has been at work on the present frame (monotonic, milliseconds); null when it waits for one. The watchdog looks at this.
   */
  get busySinceMs(): number | null {
    return this.#busySinceMs;
  }

  /** Sets the share of the frames that are processed from now on, evenly spread. 1 means all of them. */
  setPace(share: number): void {
    this.#pace = share;
  }

  start(): void {
    if (this.#done !== null || this.#options.input === null) return;
    this.#stop = new AbortController();
    this.#done = this.#run(this.#stop.signal);
  }

  /** Ends the loop after the present frame. Idempotent. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#done;
    this.#done = null;
  }

  /** Opens the source again, because its settings have changed. */
  restartSource(): void {
    this.#reopen?.abort();
  }

  async #run(signal: AbortSignal): Promise<void> {
    let backoffMs = 0;
    while (!signal.aborted) {
      const reopen = new AbortController();
      this.#reopen = reopen;
      const before = this.#frames;
      const error = await this.#consume(AbortSignal.any([signal, reopen.signal]));
      if (signal.aborted) break;
      if (reopen.signal.aborted) continue;
      if (error === null && !this.#options.live) {
        this.#setCamera('ended', null);
        await aborted(AbortSignal.any([signal, reopen.signal]));
        continue;
      }
      this.#setCamera('lost', error ?? { code: lostCodes[this.medium], message: 'The stream ended' });
      if (this.#frames > before) backoffMs = 0;
      const { baseMs, capMs } = this.#options.backoff ?? { baseMs: REOPEN_BASE_MS, capMs: REOPEN_CAP_MS };
      backoffMs = nextBackoff(backoffMs, (this.#options.random ?? Math.random)(), baseMs, capMs);
      await sleep(backoffMs, AbortSignal.any([signal, reopen.signal]));
    }
    this.#setCamera('none', null);
  }

  /** Takes frames from the source until it ends. @returns why it ended; null for an orderly end */
  async #consume(signal: AbortSignal): Promise<CodedError | null> {
    this.#setCamera('opening', null);
    try {
      const source = this.#options.open(signal);
      this.#swapping = { running: this.#slot.running, dropped: 0 };
      let droppedBefore = 0;
      for await (const frame of source) {
        if (this.#camera !== 'running') this.#setCamera('running', null);
        this.#frames += 1;
        this.#handlers.onArrival?.(frame, source);
        if (!this.#isDue()) {
          release(frame);
          continue;
        }
        await this.#take(frame, { source, droppedBefore: source.dropped - droppedBefore, signal });
        droppedBefore = source.dropped;
        if (signal.aborted) return null;
      }
      return null;
    } catch (error) {
      return signal.aborted ? null : toCodedError(error);
    }
  }

  /** Whether the pace allows to process this frame. Frames that the source drops meanwhile are counted with the next frame that is taken. */
  #isDue(): boolean {
    // Sound is always processed, because a piece that is left out would be a gap in what is heard.
    if (this.medium === 'microphone') return true;
    this.#due += this.#pace;
    if (this.#due >= 1) {
      this.#due -= 1;
      return true;
    }
    this.#handlers.onPaced?.();
    return false;
  }

  async #take(frame: AnySample, { source, droppedBefore, signal }: { source: SampleSource<AnySample>; droppedBefore: number; signal: AbortSignal }): Promise<void> {
    const droppedAtStart = source.dropped;
    const { turns } = this.#options;
    const turn = turns === undefined || this.#slot.running === null ? undefined : await turns.of.take(turns.name, signal);
    if (turn === null) return release(frame);
    this.#busySinceMs = this.#clock.monotonicMs();
    try {
      const used = await this.#slot.use(async (running) => {
        const droppedBySwap = running === this.#swapping.running || this.#swapping.running === null ? 0 : droppedAtStart - this.#swapping.dropped;
        await this.#process(frame, running, { droppedBefore, droppedBySwap });
        this.#swapping = { running, dropped: source.dropped };
        return true;
      });
      if (used === null) {
        this.#setLatest(frame, null);
        this.#handlers.onIdleFrame(frame);
      }
    } finally {
      turn?.done();
      this.#busySinceMs = null;
    }
  }

  async #process(frame: AnySample, running: Running, drops: { droppedBefore: number; droppedBySwap: number }): Promise<void> {
    let result: PipelineResult;
    try {
      result = await running.model.pipeline.process(frame);
    } catch (error) {
      this.#handlers.onPipelineError(running, toCodedError(error));
      return release(frame);
    }
    running.frames += 1;
    this.#setLatest(frame, result);
    this.#handlers.onFrame({ frame, result, running, doneMs: this.#clock.monotonicMs(), ...drops });
  }

  /** The frame before is released: who still needs it has kept its picture. */
  #setLatest(frame: AnySample, result: PipelineResult | null): void {
    const before = this.#latest;
    this.#latest = { frame, result };
    if (before !== null) release(before.frame);
  }

  #setCamera(state: CameraState, error: CodedError | null): void {
    if (state === this.#camera) return;
    this.#camera = state;
    this.#handlers.onCamera(state, error);
  }
}

function release(sample: AnySample): void {
  if (!isSound(sample)) releasePicture(sample);
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    if (signal.aborted) { clearTimeout(timer); resolve(); }
    signal.addEventListener('abort', () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}
