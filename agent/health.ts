import type { Faults } from './events/faults.js';
import type { InferenceLoop } from './inference/loop.js';
import type { Clock } from './platform/clock.js';
import type { ServiceManager } from './platform/notify.js';

/** A frame that takes longer than this means that the pipeline hangs: the watchdog is not fed any more. */
const STUCK_MS = 30_000;

export interface HealthParts {
  pipelines: readonly { name: string; loop: Pick<InferenceLoop, 'camera' | 'busySinceMs'> & Partial<Pick<InferenceLoop, 'medium'>> }[];
  faults: Pick<Faults, 'active'>;
  service: Pick<ServiceManager, 'watchdog' | 'watchdogMs'>;
  clock: Clock;
  /** The pipelines that hang on a frame, when they are others than before. Told only while a watchdog looks. */
  onHung: (hung: string[]) => void;
}

/** Whether frames go through: for `/health`, and for the service manager's watchdog. */
export class Health {
  readonly #parts: HealthParts;
  #watchdog: NodeJS.Timeout | undefined;
  #hung = '';

  constructor(parts: HealthParts) {
    this.#parts = parts;
  }

  /** `warnings` do not make it unhealthy: the unsigned mode of development. */
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

  /** WATCHDOG=1 says that frames go through (or that there are none to go), not merely that timers run. */
  start(): void {
    const { service } = this.#parts;
    if (service.watchdogMs === null || this.#watchdog !== undefined) return;
    this.#watchdog = setInterval(() => this.#feed(), service.watchdogMs / 3);
  }

  stop(): void {
    clearInterval(this.#watchdog);
    this.#watchdog = undefined;
  }

  /** What the next start knows of a hang must be written before the watchdog strikes. */
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
