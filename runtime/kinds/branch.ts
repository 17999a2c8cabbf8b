import { dropKeptOf, keptBytesOf } from '../stages/exclusive-stages.js';
import { closeStages, memoryOf } from '../stages/open-stages.js';
import type { Stages } from '../stages/open-stages.js';
import { Auditor } from '../vision/gates/auditor.js';
import type { AuditLook } from '../vision/gates/gated-detector.js';
import type { AuditSettings } from '../vision/gates/settings.js';
import type { PixelGate } from '../vision/motion.js';
import type { VisionWork } from './vision-work.js';

export interface BranchParts {
  work: VisionWork;
  /** A gate on pixels that has seen nothing yet. */
  gate: () => PixelGate;
  /** Opens the stages that differ from those of the pipeline; null: none does. */
  open: (() => Promise<Stages>) | null;
  audit: AuditSettings;
  /** Opens stages that no frame waits for; absent: the gates are not audited. */
  openAudit?: (() => Promise<Stages>) | undefined;
  auditSeed: number;
  /** What of a full run counts. */
  counting: (look: AuditLook, size: { width: number; height: number }) => AuditLook;
}

const none: Stages = {};

/** A way through a pipeline: its own networks or those of a variant, with what its gates have learned and their audit. */
export class Branch {
  readonly work: VisionWork;
  readonly auditor: Auditor | null;
  readonly #parts: BranchParts;
  #gate: PixelGate;
  #stages = none;
  #auditStages: Stages | null = null;
  #openingAudit: Promise<void> | null = null;

  constructor(parts: BranchParts) {
    this.work = parts.work;
    this.#parts = parts;
    this.#gate = parts.gate();
    this.auditor = this.#createAuditor();
  }

  get gate(): PixelGate {
    return this.#gate;
  }

  /** Of what was opened for this branch, bytes. */
  get memoryBytes(): number {
    return memoryOf(this.#stages) + memoryOf(this.#auditStages ?? none);
  }

  get keptBytes(): number {
    return keptBytesOf(this.#stages);
  }

  dropKept(): void {
    dropKeptOf(this.#stages);
  }

  /** The stages of the pipeline, with those that differ. */
  over(own: Stages): Stages {
    return this.#stages === none ? own : { ...own, ...this.#stages };
  }

  /** Opens the stages that differ. @throws RuntimeError E_MODEL_* */
  async open(): Promise<void> {
    if (this.#stages === none && this.#parts.open !== null) this.#stages = await this.#parts.open();
  }

  /** The next frame is the first that this branch sees: frames have passed that it did not. */
  begin(): void {
    this.#gate = this.#parts.gate();
    this.work.begin?.();
  }

  /** Closes what was opened for this branch, after an audit under way. Idempotent. */
  async close(): Promise<void> {
    await this.auditor?.settled();
    const [stages, audited] = [this.#stages, this.#auditStages];
    [this.#stages, this.#auditStages, this.#openingAudit] = [none, null, null];
    await closeStages(stages);
    if (audited !== null) await closeStages(audited);
  }

  #createAuditor(): Auditor | null {
    const { work, audit, openAudit, auditSeed, counting } = this.#parts;
    if (openAudit === undefined || work.audit === undefined || audit.share === 0) return null;
    return new Auditor(audit, async (image) => {
      const stages = this.#auditStages;
      if (stages !== null) return work.audit === undefined ? null : counting(await work.audit(image, stages), image);
      this.#openingAudit ??= openAudit().then((opened) => { this.#auditStages = opened; });
      await this.#openingAudit;
      return null;
    }, auditSeed);
  }
}
