/** What a fault is, and where parts raise and clear it; `events/faults.ts` keeps them. */
import type { OtherWord } from '../contracts/codec.js';
import { toCodedError, type CodedError } from '../errors.js';

export type Component = 'camera' | 'microphone' | 'pipeline' | 'ota' | 'mqtt' | 'outbox' | 'config' | 'agent';
export type Severity = 'warning' | 'error';

/** A fault that was raised and is not over. */
export interface ActiveFault {
  /** Null: of the whole device. */
  pipeline: string | null;
  component: Component | OtherWord;
  error: CodedError;
}

/** Where a part raises and clears its faults: those of the device, or of one pipeline. */
export interface FaultPort {
  raise(component: Component, error: CodedError, severity?: Severity): void;
  /** Everything of a component, or one code of it, is right again. */
  clear(component: Component, code?: string): void;
}

/** Does what may fail without stopping the daemon, such as a note on a full disk: what it throws is raised. */
export function attempt(faults: FaultPort, component: Component, work: () => void): void {
  try {
    work();
  } catch (error) {
    faults.raise(component, toCodedError(error));
  }
}
