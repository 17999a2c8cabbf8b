import type { Faults } from './events/faults.js';
import type { InferenceLoop } from './inference/loop.js';
import type { Clock } from './platform/clock.js';
import type { ServiceManager } from './platform/notify.js';

/** A frame that takes longer than this means that the pipeline hangs; the watchdog is then no longer fed. Milliseconds. */
const STUCK_MS = 30_000;

export interface HealthParts {
  pipelines: readonly { name: string; loop: Pick<InferenceLoop, 'camera' | 'busySinceMs'> & Partial<Pick<InferenceLoop, 'medium'>> }[];
  faults: Pick<Faults, 'active'>;
  service: Pick<ServiceManager, 'watchdog' | 'watchdogMs'>;
  clock: Clock;
  /** Called with the names of the pipelines that hang on a frame, when they have changed. It is called only while a watchdog looks. */
  onHung: (hung: string[]) => void;
}

/** Whether frames are being processed, for `/health` and for the service manager's watchdog. */
export class Health {
  readonly #parts: HealthParts;
  #watchdog: NodeJS.Timeout | undefined;
  #hung = '';

  constructor(parts: HealthParts) {
    this.#parts = parts;
  }

  /** `warnings` do not make the daemon unhealthy; an example is the unsigned mode for development. */
  check(): { ok: boolean; reasons: string[]; warnings: string[] } {
    const { pipelines, faults } = this.#parts;
    const reasons: string[] = [];
    const of = (name: string): string => (pipelines.length === 1 ? '' : ` of ${name}`);
    for (const name of this.#stuck()) reasons.push(`the pipeline${of(name)} has worked on one frame for more than ${STUCK_MS} ms`);
    for (const { name, loop } of pipelines) if (loop.camera === 'lost') reasons.push(`the ${loop.medium ?? 'camera'}${of(name)} is lost`);
    for (const { component, error } of faults.active) if (component === 'pipeline' && error.code === 'E_PIPELINE') reasons.push(error.message);
    const warnings = faults.active.flatMap(({ error }) => (error.code === 'E_TRUST_OFF' ? [error.message] : []));
    return { ok: reasons.length === 0, reasons, warnings };
  }

  /** Starts to feed the watchdog. WATCHDOG=1 says that frames are processed (or that there are none to process), not merely that timers run. */
  start(): void {
    const { service } = this.#parts;
    if (service.watchdogMs === null || this.#watchdog !== undefined) return;
    this.#watchdog = setInterval(() => this.#feed(), service.watchdogMs / 3);
  }

  stop(): void {
    clearInterval(this.#watchdog);
    this.#watchdog = undefined;
  }

  /**
   * Feeds the watchdog, unless a pipeline hangs. The hang is noted first, because the next start needs the note, and the watchdog may kill this
   * process at once.
   */
  #feed(): void {
    const hung = this.#stuck();
    if (hung.join() !== this.#hung) this.#parts.onHung(hung);
    this.#hung = hung.join();
    if (hung.length === 0) this.#parts.service.watchdog();
  }

  #stuck(): string[] {
    const { pipelines, clock } = this.#parts;
    const nowMs = clock.monotonicMs();
    return pipelines.flatMap(({ name, loop }) => (loop.busySinceMs !== null && nowMs - loop.busySinceMs > STUCK_MS ? [name] : []));
  }
}
