/** What a fault is, and where parts raise and clear it; `events/faults.ts` keeps them. */
import type { OtherWord } from '../contracts/codec.js';
import { toCodedError, type CodedError } from '../errors.js';

export type Component = 'camera' | 'microphone' | 'pipeline' | 'ota' | 'mqtt' | 'outbox' | 'config' | 'agent';
export type Severity = 'warning' | 'error';

/** A fault that was raised and is not over. */
export interface ActiveFault {
  /** Null means that the fault is one of the whole device. */
  pipeline: string | null;
  component: Component | OtherWord;
  error: CodedError;
}

/** Where a part raises and clears its faults: those of the device, or of one pipeline. */
export interface FaultPort {
  raise(component: Component, error: CodedError, severity?: Severity): void;
  /** Tells that one code of a component, or without a code everything of it, works again. */
  clear(component: Component, code?: string): void;
}

/** Runs work whose failure must not stop the daemon, such as a note on a full disk. An error that it throws is raised as a fault. */
export function attempt(faults: FaultPort, component: Component, work: () => void): void {
  try {
    work();
  } catch (error) {
    faults.raise(component, toCodedError(error));
  }
}
