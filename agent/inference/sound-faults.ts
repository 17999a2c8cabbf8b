/** Raises a warning for each problem of a microphone's signal for as long as it lasts, while the microphone goes on delivering. */
import { signalProblems, type SignalProblem } from '../../runtime/stages/types.js';
import type { FaultPort } from '../ground/faults.js';

export class SoundFaults {
  readonly #faults: FaultPort;
  #raised: readonly SignalProblem[] = [];

  constructor(faults: FaultPort) {
    this.#faults = faults;
  }

  /** @param problems of the newest chunk; an empty list when the microphone is gone */
  note(problems: readonly SignalProblem[]): void {
    for (const code of problems) if (!this.#raised.includes(code)) this.#faults.raise('microphone', { code, message: capital(signalProblems[code]) }, 'warning');
    for (const code of this.#raised) if (!problems.includes(code)) this.#faults.clear('microphone', code);
    this.#raised = problems;
  }
}

const capital = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1);
