import { copyOfMask } from '../../kernels/binding/cell-mask.js';
import { RuntimeError } from '../errors.js';
import { isSound, timeOf } from '../frame.js';
import type { AnySample, AudioChunk, Frame, Image } from '../frame.js';
import { ExclusiveStages } from '../stages/exclusive-stages.js';
import { detectionsOf } from '../stages/finding.js';
import type { Finding } from '../stages/finding.js';
import { closeStages, memoryOf } from '../stages/open-stages.js';
import type { Stages } from '../stages/open-stages.js';
import { StageClock } from '../stages/stage-clock.js';
import type { Detection, ExitKind, Pipeline, PipelineResult } from '../stages/types.js';
import { looked } from '../stages/types.js';
import type { GateReport } from '../vision/gates/audit.js';
import { Auditor } from '../vision/gates/auditor.js';
import type { AuditLook } from '../vision/gates/gated-detector.js';
import { defaultAudit, type AuditSettings } from '../vision/gates/settings.js';
import { PixelGate } from '../vision/motion.js';
import type { CellMask } from '../vision/pixels.js';
import type { MotionSettings } from '../vision/settings.js';
import { applyRules, counts, noRules } from '../vision/zones/rules.js';
import type { Anchor, FindingRules } from '../vision/zones/settings.js';
import type { PipelineParts } from './kind.js';

/** What a kind made of a frame that passed the pixel gate. */
export interface Worked {
  findings: Finding[];
  /** How far the frame went. */
  exit: Exclude<ExitKind, 'pixels' | 'silence' | 'late'>;
  /** The cells by which that was decided; when absent, those of the pixel gate count. */
  cells?: CellMask;
}

/** Everything was computed. */
export const inFull = (findings: Finding[]): Worked => ({ findings, exit: 'full' });

/** What is wanted of a frame. */
export interface Wanted {
  /** Which findings count. */
  rules: FindingRules;
  /** For the thresholds of the kind's own gates; 0: they are off. */
  factor: number;
}

/** What a kind of vision pipeline does with a picture; the rest (gate, turns, times, zones) is the same for all. */
export interface VisionWork {
  /** A frame that passed the pixel gate. What the rules leave out is left out afterwards in any case; a kind that knows them saves the work on it. */
  process(frame: Frame, stages: Stages, clock: StageClock, wanted: Wanted): Promise<Worked>;
  /** What a frame that stopped shows without any gate, on stages that no frame waits for; the picture is read before the first wait. */
  audit?(image: Image, stages: Stages): Promise<AuditLook>;
  /** A frame that stopped at the pixel gate: what is still there, since nothing moved. Nothing when the kind follows nothing. */
  rest?(frame: Frame): Finding[];
  /** Which point of a box must be inside of a zone that states none. Default: `foot`. */
  anchor?: Anchor;
  rehearse(image: Image, stages: Stages): Promise<void>;
  embed?(image: Image, stages: Stages): Promise<{ detection: Detection; embedding: Float32Array }[]>;
}

/** What the gates of all kinds are set by. */
interface GatedSettings {
  motion: MotionSettings;
  audit?: AuditSettings;
}

/** A motion gate, then the work of a kind: one frame at a time, every stage timed. */
export class VisionPipeline implements Pipeline {
  readonly name: string;
  readonly version: string;
  readonly embeddingSpaceId: string | null;
  readonly #work: VisionWork;
  readonly #stages: ExclusiveStages;
  readonly #gate: PixelGate;
  readonly #auditor: Auditor | null;
  #auditStages: Stages | null = null;
  #opening: Promise<void> | null = null;
  #rules: FindingRules;
  #gateFactor = 1;

  constructor(parts: PipelineParts, { motion, audit = defaultAudit }: GatedSettings, work: VisionWork) {
    const { name, version, embeddingSpaceId, stages, pixels, rules } = parts;
    this.name = name;
    this.version = version;
    this.embeddingSpaceId = embeddingSpaceId;
    this.#work = work;
    this.#stages = new ExclusiveStages(stages);
    this.#gate = new PixelGate(motion, pixels.motionGrid());
    this.#rules = rules ?? noRules;
    this.#auditor = this.#auditorOf(parts, audit);
  }

  get memoryBytes(): number {
    return this.#stages.memoryBytes + (this.#auditStages === null ? 0 : memoryOf(this.#auditStages));
  }

  get keptBytes(): number {
    return this.#stages.keptBytes;
  }

  dropKept(): void {
    this.#stages.dropKept();
  }

  get gates(): GateReport | undefined {
    return this.#auditor?.report;
  }

  /** What does not count is no miss. */
  #countingLook(look: AuditLook, size: { width: number; height: number }): AuditLook {
    return { ...look, found: look.found.filter(({ detection }) => counts(detection, size, this.#rules, this.#work.anchor)) };
  }

  #auditorOf({ auditStages, auditSeed = Date.now() }: PipelineParts, audit: AuditSettings): Auditor | null {
    const work = this.#work;
    if (auditStages === undefined || work.audit === undefined || audit.share === 0) return null;
    return new Auditor(audit, async (image) => {
      const stages = this.#auditStages;
      if (stages !== null) return work.audit === undefined ? null : this.#countingLook(await work.audit(image, stages), image);
      this.#opening ??= auditStages().then((stages) => { this.#auditStages = stages; });
      await this.#opening;
      return null;
    }, auditSeed);
  }

  async process(frame: AnySample): Promise<PipelineResult> {
    if (isSound(frame)) throw listens();
    return this.#stages.use((stages) => this.#process(frame, stages));
  }

  setRules(rules: FindingRules): void {
    this.#rules = rules;
  }

  setGateFactor(factor: number): void {
    this.#gateFactor = factor;
  }

  async embed(image: Image): Promise<{ detection: Detection; embedding: Float32Array }[]> {
    return this.#stages.use(async (stages) => this.#work.embed?.(image, stages) ?? []);
  }

  withStages<T>(work: (stages: Stages) => Promise<T>): Promise<T> {
    return this.#stages.use(work);
  }

  async rehearse(image: Image | AudioChunk): Promise<void> {
    if ('samples' in image) throw listens();
    return this.#stages.use((stages) => this.#work.rehearse(image, stages));
  }

  async close(): Promise<void> {
    await this.#stages.close();
    await this.#auditor?.settled();
    const audited = this.#auditStages;
    this.#auditStages = null;
    if (audited !== null) await closeStages(audited);
  }

  async #process(frame: Frame, stages: Stages): Promise<PipelineResult> {
    const clock = new StageClock(frame);
    const nowMs = timeOf(frame);
    const factor = this.#gateFactor * (this.#auditor?.factor ?? 1);
    const enabled = this.#gate.enabled && factor > 0;
    const open = !enabled || clock.measure('motion', () => this.#gate.opensFor(frame, nowMs, factor));
    const cells = enabled ? copyOfMask(this.#gate.mask) : null;
    const rules = this.#rules;
    const counting = (found: Finding[]): Finding[] => applyRules(found, frame, rules, this.#work.anchor);
    if (!open) return clock.finish(counting(this.#work.rest?.(frame) ?? []), { exit: 'pixels', cells, audit: this.#auditor?.stopped(frame) ?? false });
    const { findings: found, ...worked } = await this.#work.process(frame, stages, clock, { rules, factor });
    const findings = counting(found);
    if (!looked(worked.exit)) return clock.finish(findings, { cells, ...worked, audit: this.#auditor?.stopped(frame) ?? false });
    const detections = detectionsOf(findings);
    this.#auditor?.saw(detections);
    if (detections.length > 0) this.#gate.sawFinding(nowMs);
    return clock.finish(findings, { cells, ...worked });
  }
}

const listens = (): RuntimeError => new RuntimeError('E_INPUT', 'Expected frames for this pipeline but received sound; a pipeline of the kind sound listens');
