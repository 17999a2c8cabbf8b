/**
 * Decides which of two copies is believed at a start. The journal is written first and the pointer file after it, each with the number of changes of
 * the slots so far. So the larger number is the later decision, and if one copy cannot be read, the other one suffices. Pure.
 */
import type { CodedError } from '../errors.js';
import { initialOtaState, type OtaState } from './state.js';
import type { Pointer, Stored, StoredState } from './stored-state.js';

export interface Recovered {
  state: OtaState;
  /** Number of the last change of the slots. */
  sequence: number;
  /** Whether the slots are unknown. Packages in the store are then tested again, and the first good one runs. */
  adopt: boolean;
  /** What was found, and what is done about it; null when nothing was wrong. */
  finding: CodedError | null;
}

/** The state to begin with. @param packages how many complete packages the store holds */
export function reconcile(journal: Stored<StoredState>, pointer: Stored<Pointer>, packages: number): Recovered {
  const later = pointer.kind === 'sound' ? pointer.value.sequence : 0;
  if (journal.kind === 'sound') {
    const { state, sequence } = journal.value;
    // A journal of a version without numbers cannot be compared by them. It was written by the last run, so it is believed.
    if (sequence === null) return { state, sequence: later, adopt: false, finding: null };
    if (pointer.kind !== 'sound' || later <= sequence) {
      return { state, sequence, adopt: false, finding: pointer.kind === 'unsound' ? damagedPointer(pointer.problem) : null };
    }
  }
  // This device was never updated: the pointer file is written at its first start, but the journal only with the first transition.
  if (journal.kind === 'none' && pointer.kind === 'sound' && pointer.value.active === null && pointer.value.previous === null && packages === 0) {
    const { generation_applied } = pointer.value;
    return { state: { ...initialOtaState, generation_seen: generation_applied, generation_applied }, sequence: later, adopt: false, finding: null };
  }
  if (pointer.kind === 'sound') return fromPointer(journal, pointer.value);
  if (journal.kind === 'none' && pointer.kind === 'none' && packages === 0) return { state: initialOtaState, sequence: 0, adopt: false, finding: null };
  return { state: { ...initialOtaState, keep_all: true }, sequence: 0, adopt: packages > 0, finding: lostBoth(journal, pointer, packages) };
}

/**
 * Takes the slots of the pointer. An installation under way is forgotten; its generation then counts as unseen, so that the retained `desired` begins
 * it again.
 */
function fromPointer(journal: Stored<StoredState>, { sequence, generation_applied, active, previous }: Pointer): Recovered {
  const running = active === null ? 'no package was active' : `${active.name} ${active.version} is active`;
  const wrong = journal.kind === 'unsound' ? `cannot be read (${journal.problem})` : journal.kind === 'none' ? 'is missing' : 'is older than the second copy';
  return {
    state: { ...initialOtaState, generation_seen: generation_applied, generation_applied, active, previous, phase: active === null ? 'idle' : 'committed', keep_all: true },
    sequence,
    adopt: false,
    finding: { code: 'E_STATE_RECOVERED', message: `The journal of updates ${wrong}; by its second copy ${running}. No package is deleted until the next update has succeeded` },
  };
}

function damagedPointer(problem: string): CodedError {
  return { code: 'E_STATE_RECOVERED', message: `The second copy of the active pointer was damaged (${problem}) and is written anew from the journal` };
}

function lostBoth(journal: Stored<StoredState>, pointer: Stored<Pointer>, packages: number): CodedError {
  const of = (copy: Stored<unknown>): string => (copy.kind === 'unsound' ? `cannot be read (${copy.problem})` : 'is missing');
  const then = packages === 0 ? 'No package is in the store; the device waits for `desired`'
    : `${packages} packages are in the store; they are tested one after the other, newest first, and the first good one runs. None is deleted until the next update has succeeded`;
  return { code: 'E_STATE_RECOVERED', message: `The journal of updates ${of(journal)}, and its second copy ${of(pointer)}. ${then}` };
}
