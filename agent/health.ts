import type { Faults } from './events/faults.js';
import type { InferenceLoop } from './inference/loop.js';
import type { Clock } from './platform/clock.js';
import type { ServiceManager } from './platform/notify.js';

/** A frame that takes longer than this means that the pipeline hangs: the watchdog is not fed any more. */
const STUCK_MS = 30_000;

export interface HealthParts {
  loop: Pick<InferenceLoop, 'camera' | 'busySinceMs'>;
  faults: Pick<Faults, 'active'>;
  service: Pick<ServiceManager, 'watchdog' | 'watchdogMs'>;
  clock: Clock;
  /** The pipeline hangs on a frame, or the frame came back. Told only while a watchdog looks. */
  onHung: (hung: boolean) => void;
}

/** Whether frames go through: for `/health`, and for the service manager's watchdog. */
export class Health {
  readonly #parts: HealthParts;
  #watchdog: NodeJS.Timeout | undefined;
  #hung = false;

  constructor(parts: HealthParts) {
    this.#parts = parts;
  }

  check(): { ok: boolean; reasons: string[] } {
    const { loop, faults } = this.#parts;
    const reasons: string[] = [];
    if (this.#stuck()) reasons.push(`the pipeline has worked on one frame for more than ${STUCK_MS} ms`);
    if (loop.camera === 'lost') reasons.push('the camera is lost');
    for (const { component, error } of faults.active) if (component === 'pipeline' && error.code === 'E_PIPELINE') reasons.push(error.message);
    return { ok: reasons.length === 0, reasons };
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
    if (hung !== this.#hung) this.#parts.onHung(hung);
    this.#hung = hung;
    if (!hung) this.#parts.service.watchdog();
  }

  #stuck(): boolean {
    const { loop, clock } = this.#parts;
    return loop.busySinceMs !== null && clock.monotonicMs() - loop.busySinceMs > STUCK_MS;
  }
}
