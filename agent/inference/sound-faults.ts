/** Raises a warning for each problem of a microphone's signal or clock for as long as it lasts, while the microphone goes on delivering. */
import type { ClockEstimate } from '../../runtime/frame.js';
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

/** From this drift on it is no clock of a sound card, which are within some hundred millionths. The warning ends below half of it. */
const wrongPpm = 10_000;

/** Raises a warning while samples come at another rate than they are said to have: times, and what is late, are then wrong. */
export class RateFault {
  readonly #faults: FaultPort;
  #raised = false;

  constructor(faults: FaultPort) {
    this.#faults = faults;
  }

  /** @param clock of the source; null while it cannot be told, which changes nothing */
  note(clock: ClockEstimate | null): void {
    const drift = Math.abs(clock?.driftPpm ?? 0);
    if (clock !== null && !this.#raised && drift >= wrongPpm) {
      this.#raised = true;
      const said = `${(drift / 10_000).toFixed(1)} % ${clock.driftPpm > 0 ? 'faster' : 'slower'} than their rate says`;
      this.#faults.raise('microphone', { code: 'E_SOUND_RATE', message: `Samples come ${said}: the stated rate is wrong, or the source or this machine cannot keep up` }, 'warning');
    } else if (clock !== null && drift < wrongPpm / 2) this.gone();
  }

  /** The microphone is gone, and with it what was wrong. */
  gone(): void {
    if (this.#raised) this.#faults.clear('microphone', 'E_SOUND_RATE');
    this.#raised = false;
  }
}

const capital = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1);
