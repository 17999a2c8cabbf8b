import { copyOfMask } from '../../kernels/binding/cell-mask.js';
import { RuntimeError } from '../errors.js';
import { isSound, timeOf } from '../frame.js';
import type { AnySample, AudioChunk, Frame, Image } from '../frame.js';
import { ExclusiveStages } from '../stages/exclusive-stages.js';
import { detectionsOf } from '../stages/finding.js';
import type { Finding } from '../stages/finding.js';
import type { Stages } from '../stages/open-stages.js';
import { StageClock } from '../stages/stage-clock.js';
import type { Detection, Pipeline, PipelineResult, VariantInfo } from '../stages/types.js';
import { looked } from '../stages/types.js';
import type { GateReport } from '../vision/gates/audit.js';
import { defaultAudit, type AuditSettings } from '../vision/gates/settings.js';
import { PixelGate } from '../vision/motion.js';
import type { MotionSettings } from '../vision/settings.js';
import { applyRules, counts, noRules } from '../vision/zones/rules.js';
import type { FindingRules } from '../vision/zones/settings.js';
import { Branch } from './branch.js';
import type { BranchParts } from './branch.js';
import type { PipelineParts } from './kind.js';
import type { VisionWork } from './vision-work.js';

/** What the gates of all kinds are set by. */
interface GatedSettings {
  motion: MotionSettings;
  audit?: AuditSettings;
}

/** A motion gate, then the work of a kind: one frame at a time, every stage timed. Variants replace a part of the stages. */
export class VisionPipeline implements Pipeline {
  readonly name: string;
  readonly version: string;
  readonly embeddingSpaceId: string | null;
  readonly variants: readonly VariantInfo[];
  readonly #stages: ExclusiveStages;
  /** With the pipeline's own networks, which always stay open. */
  readonly #own: Branch;
  readonly #varied: ReadonlyMap<string, Branch>;
  #current: Branch;
  #wanted: Branch;
  #switching: Promise<void> = Promise.resolve();
  #rules: FindingRules;
  #gateFactor = 1;

  /** `variants`: the work of each variant of the parts. */
  constructor(parts: PipelineParts, settings: GatedSettings, work: VisionWork, variants: readonly VisionWork[] = []) {
    const { name, version, embeddingSpaceId, stages, rules, variants: stated = [] } = parts;
    this.name = name;
    this.version = version;
    this.embeddingSpaceId = embeddingSpaceId;
    this.variants = stated.map(({ name, load, cost }) => ({ name, load, cost })).sort((a, b) => b.load - a.load);
    this.#stages = new ExclusiveStages(stages);
    this.#rules = rules ?? noRules;
    this.#own = this.#branch(parts, settings, work, { open: null, openAudit: parts.auditStages });
    this.#varied = new Map(stated.flatMap((variant, i) => {
      const varied = variants[i];
      return varied === undefined ? [] : [[variant.name, this.#branch(parts, settings, varied, variant)]];
    }));
    this.#current = this.#own;
    this.#wanted = this.#own;
  }

  #branch({ pixels, auditSeed = Date.now() }: PipelineParts, { motion, audit = defaultAudit }: GatedSettings, work: VisionWork, { open, openAudit }: Pick<BranchParts, 'open' | 'openAudit'>): Branch {
    return new Branch({
      work, open, openAudit, audit, auditSeed,
      gate: () => new PixelGate(motion, pixels.motionGrid()),
      // What does not count is no miss.
      counting: (look, size) => ({ ...look, found: look.found.filter(({ detection }) => counts(detection, size, this.#rules, work.anchor)) }),
    });
  }

  get #branches(): Branch[] {
    return [this.#own, ...this.#varied.values()];
  }

  get memoryBytes(): number {
    return this.#branches.reduce((sum, { memoryBytes }) => sum + memoryBytes, this.#stages.memoryBytes);
  }

  get keptBytes(): number {
    return this.#branches.reduce((sum, { keptBytes }) => sum + keptBytes, this.#stages.keptBytes);
  }

  dropKept(): void {
    this.#stages.dropKept();
    for (const branch of this.#branches) branch.dropKept();
  }

  get gates(): GateReport | undefined {
    return this.#current.auditor?.report;
  }

  get variant(): string | null {
    return [...this.#varied].find(([, branch]) => branch === this.#current)?.[0] ?? null;
  }

  async setVariant(name: string | null): Promise<void> {
    const to = name === null ? this.#own : this.#varied.get(name);
    if (to === undefined) throw new RuntimeError('E_OPTION', `Expected a variant of ${[...this.#varied.keys()].join(', ') || '(none)'} but received ${name}`);
    this.#wanted = to;
    const done = this.#switching.then(() => this.#switch(to));
    this.#switching = done.catch(() => undefined);
    await done;
  }

  /** Frames go on with the networks before until the others are open. What is left is closed: at most one variant takes up memory. */
  async #switch(to: Branch): Promise<void> {
    const from = this.#current;
    if (to !== this.#wanted || to === from) return;
    try {
      await to.open();
      await this.#stages.use(() => {
        if (to === this.#wanted) this.#enter(to);
        return Promise.resolve();
      });
    } finally {
      const left = this.#current === to ? from : to;
      if (left !== this.#own) await left.close();
    }
  }

  #enter(branch: Branch): void {
    branch.begin();
    this.#current = branch;
    this.dropKept();
  }

  async process(frame: AnySample): Promise<PipelineResult> {
    if (isSound(frame)) throw listens();
    return this.#stages.use(async (stages) => {
      const { variant } = this;
      const result = await this.#process(frame, this.#current, this.#current.over(stages));
      return variant === null ? result : { ...result, variant };
    });
  }

  setRules(rules: FindingRules): void {
    this.#rules = rules;
  }

  setGateFactor(factor: number): void {
    this.#gateFactor = factor;
  }

  async embed(image: Image): Promise<{ detection: Detection; embedding: Float32Array }[]> {
    return this.#stages.use(async (stages) => this.#own.work.embed?.(image, stages) ?? []);
  }

  withStages<T>(work: (stages: Stages) => Promise<T>): Promise<T> {
    return this.#stages.use(work);
  }

  async rehearse(image: Image | AudioChunk): Promise<void> {
    if ('samples' in image) throw listens();
    return this.#stages.use((stages) => this.#own.work.rehearse(image, stages));
  }

  async close(): Promise<void> {
    this.#wanted = this.#current;
    await this.#stages.close();
    await this.#switching;
    for (const branch of this.#branches) await branch.close();
  }

  async #process(frame: Frame, { work, gate, auditor }: Branch, stages: Stages): Promise<PipelineResult> {
    const clock = new StageClock(frame);
    const nowMs = timeOf(frame);
    const factor = this.#gateFactor * (auditor?.factor ?? 1);
    const enabled = gate.enabled && factor > 0;
    const open = !enabled || clock.measure('motion', () => gate.opensFor(frame, nowMs, factor));
    const cells = enabled ? copyOfMask(gate.mask) : null;
    const rules = this.#rules;
    const counting = (found: Finding[]): Finding[] => applyRules(found, frame, rules, work.anchor);
    if (!open) return clock.finish(counting(work.rest?.(frame) ?? []), { exit: 'pixels', cells, audit: auditor?.stopped(frame) ?? false });
    const { findings: found, ...worked } = await work.process(frame, stages, clock, { rules, factor });
    const findings = counting(found);
    if (!looked(worked.exit)) return clock.finish(findings, { cells, ...worked, audit: auditor?.stopped(frame) ?? false });
    const detections = detectionsOf(findings);
    auditor?.saw(detections);
    if (detections.length > 0) gate.sawFinding(nowMs);
    return clock.finish(findings, { cells, ...worked });
  }
}

const listens = (): RuntimeError => new RuntimeError('E_INPUT', 'Expected frames for this pipeline but received sound; a pipeline of the kind sound listens');
