import type { Image } from '../../frame.js';
import { keepPicture } from '../../picture-memory.js';
import type { Detection } from '../../stages/finding.js';

import { initialAudit, Lottery, missRate, stepAudit, thresholdFactor, type AuditState, type GateReport } from './audit.js';
import type { AuditLook } from './gated-detector.js';
import { newAmong } from './overlap.js';
import type { AuditSettings } from './settings.js';

type Placed = Pick<Detection, 'box' | 'label'>;

/** Draws frames that stopped, runs them in full in the background, one at a time, and makes the gates stricter when they miss too much. */
export class Auditor {
  readonly #settings: AuditSettings;
  readonly #look: (image: Image) => Promise<AuditLook | null>;
  readonly #lottery: Lottery;
  #state: AuditState = initialAudit;
  #known: readonly Placed[] = [];
  #skipped = 0;
  #running: Promise<void> | null = null;

  /** `look` reads the picture before it waits; null: the models are not open yet. */
  constructor(settings: AuditSettings, look: (image: Image) => Promise<AuditLook | null>, seed: number) {
    this.#settings = settings;
    this.#look = look;
    this.#lottery = new Lottery(settings.share, seed);
  }

  /** For the thresholds of the gates; 0: they are off. */
  get factor(): number {
    return thresholdFactor(this.#state.strictness);
  }

  get report(): GateReport {
    const { strictness, audits, misses, unsure } = this.#state;
    return { strictness, audits, misses, unsure, skipped: this.#skipped, missRate: missRate(this.#state) };
  }

  /** What a frame that did not stop showed: a full run of a later one is compared with it. */
  saw(detections: readonly Placed[]): void {
    this.#known = detections;
  }

  /** A frame stopped. @returns whether it was drawn, and runs in full in the background */
  stopped(image: Image): boolean {
    if (!this.#lottery.draw()) return false;
    if (this.#running !== null) {
      this.#skipped += 1;
      return false;
    }
    const known = this.#known;
    keepPicture(image);
    this.#running = this.#audit(image, known).catch(() => { this.#skipped += 1; }).finally(() => { this.#running = null; });
    return true;
  }

  /** Waits for the audit under way. */
  async settled(): Promise<void> {
    await this.#running;
  }

  async #audit(image: Image, known: readonly Placed[]): Promise<void> {
    const look = await this.#look(image);
    if (look === null) {
      this.#skipped += 1;
      return;
    }
    const fresh = newAmong(look.found.map(({ detection }) => detection), known);
    const outcome = fresh.length === 0 ? 'nothing new' : newAmong(fresh, (await look.again()).map(({ detection }) => detection)).length === fresh.length ? 'unsure' : 'miss';
    this.#state = stepAudit(this.#state, outcome, this.#settings);
  }
}
