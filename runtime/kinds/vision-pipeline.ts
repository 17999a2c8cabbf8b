import { timeOf } from '../frame.js';
import type { Frame, Image } from '../frame.js';
import { ExclusiveStages } from '../stages/exclusive-stages.js';
import { detectionsOf } from '../stages/finding.js';
import type { Finding } from '../stages/finding.js';
import type { Stages } from '../stages/open-stages.js';
import { StageClock } from '../stages/stage-clock.js';
import type { Detection, ExitKind, Pipeline, PipelineResult } from '../stages/types.js';
import { MotionGate } from '../vision/motion.js';
import type { CellMask, MotionCells } from '../vision/pixels.js';
import type { MotionSettings } from '../vision/settings.js';
import { applyRules, noRules } from '../vision/zones/rules.js';
import type { Anchor, FindingRules } from '../vision/zones/settings.js';
import type { PipelineParts } from './kind.js';

/** What a kind made of a frame that passed the pixel gate. */
export interface Worked {
  findings: Finding[];
  /** How far the frame went. */
  exit: Exclude<ExitKind, 'pixels'>;
  /** The cells by which that was decided; when absent, those of the pixel gate count. */
  cells?: CellMask;
}

/** Everything was computed. */
export const inFull = (findings: Finding[]): Worked => ({ findings, exit: 'full' });

/** What a kind of vision pipeline does with a picture; the rest (gate, turns, times, zones) is the same for all. */
export interface VisionWork {
  /** A frame that passed the gate. What the rules leave out is left out afterwards in any case; a kind that knows them saves the work on it. */
  process(frame: Frame, stages: Stages, clock: StageClock, rules: FindingRules): Promise<Worked>;
  /** A frame that stopped at the pixel gate: what is still there, since nothing moved. Nothing when the kind follows nothing. */
  rest?(frame: Frame): Finding[];
  /** Which point of a box must be inside of a zone that states none. Default: `foot`. */
  anchor?: Anchor;
  rehearse(image: Image, stages: Stages): Promise<void>;
  embed?(image: Image, stages: Stages): Promise<{ detection: Detection; embedding: Float32Array }[]>;
}

/** A motion gate, then the work of a kind: one frame at a time, every stage timed. */
export class VisionPipeline implements Pipeline {
  readonly name: string;
  readonly version: string;
  readonly embeddingSpaceId: string | null;
  readonly #work: VisionWork;
  readonly #stages: ExclusiveStages;
  readonly #gate: MotionGate;
  readonly #cellThreshold: number;
  readonly #motion: MotionCells;
  #rules: FindingRules;

  constructor({ name, version, embeddingSpaceId, stages, pixels, rules }: PipelineParts, motion: MotionSettings, work: VisionWork) {
    this.name = name;
    this.version = version;
    this.embeddingSpaceId = embeddingSpaceId;
    this.#work = work;
    this.#stages = new ExclusiveStages(stages);
    this.#gate = new MotionGate(motion);
    this.#cellThreshold = motion.cell_threshold;
    this.#motion = pixels.motionGrid();
    this.#rules = rules ?? noRules;
  }

  get memoryBytes(): number {
    return this.#stages.memoryBytes;
  }

  process(frame: Frame): Promise<PipelineResult> {
    return this.#stages.use((stages) => this.#process(frame, stages));
  }

  setRules(rules: FindingRules): void {
    this.#rules = rules;
  }

  async embed(image: Image): Promise<{ detection: Detection; embedding: Float32Array }[]> {
    return this.#stages.use(async (stages) => this.#work.embed?.(image, stages) ?? []);
  }

  withStages<T>(work: (stages: Stages) => Promise<T>): Promise<T> {
    return this.#stages.use(work);
  }

  rehearse(image: Image): Promise<void> {
    return this.#stages.use((stages) => this.#work.rehearse(image, stages));
  }

  close(): Promise<void> {
    return this.#stages.close();
  }

  async #process(frame: Frame, stages: Stages): Promise<PipelineResult> {
    const clock = new StageClock(frame);
    const nowMs = timeOf(frame);
    const { enabled } = this.#gate;
    const open = !enabled || clock.measure('motion', () => this.#gate.decide(this.#motion.update(frame, this.#cellThreshold), nowMs));
    const cells = enabled ? copyOf(this.#motion.mask) : null;
    const rules = this.#rules;
    const counting = (found: Finding[]): Finding[] => applyRules(found, frame, rules, this.#work.anchor);
    if (!open) return clock.finish(counting(this.#work.rest?.(frame) ?? []), { exit: 'pixels', cells });
    const { findings: found, ...worked } = await this.#work.process(frame, stages, clock, rules);
    const findings = counting(found);
    if (detectionsOf(findings).length > 0) this.#gate.sawFinding(nowMs);
    return clock.finish(findings, { cells, ...worked });
  }
}

/** A result outlives the gate's next frame. */
const copyOf = ({ width, height, bits }: CellMask): CellMask => ({ width, height, bits: bits.slice() });
