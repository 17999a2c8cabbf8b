import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAX_FREE_GENERATION } from '../../../agent/contracts/index.js';
import { busyPhases, initialOtaState, type OtaState } from '../../../agent/ota/state.js';
import type { Slot } from '../../../agent/ground/package.js';
import { reconcile } from '../../../agent/ota/recovery.js';
import { decodePointer, decodeState, encodePointer, encodeState, pointerOf, type Pointer, type Stored, type StoredState } from '../../../agent/ota/stored-state.js';

const slot = (letter: string): Slot => ({ name: 'faces', version: letter, digest: letter.repeat(64), size_bytes: 10, since_ms: 1 });
const state = (active: Slot | null, previous: Slot | null, generation: number | null): OtaState => ({
  ...initialOtaState, phase: active === null ? 'idle' : 'committed', active, previous, generation_seen: generation, generation_applied: generation,
});
const optionalSlot = fc.option(fc.constantFrom('a', 'b', 'c').map(slot));
const history = fc.array(fc.tuple(optionalSlot, optionalSlot), { minLength: 1, maxLength: 8 });

/** How a copy may be found: as of some change of the slots, damaged, or not at all. */
type Found = number | 'unsound' | 'none';
const found = (changes: number): fc.Arbitrary<Found> => fc.oneof(fc.nat(changes - 1), fc.constantFrom('unsound' as const, 'none' as const));
const unsound = { kind: 'unsound', problem: 'it is not JSON' } as const;

describe('the two copies of what runs', () => {
  it('the later one of those that can be read is believed, whatever happened to the other', () => {
    fc.assert(fc.property(history.chain((h) => fc.tuple(fc.constant(h), found(h.length), found(h.length))), ([changes, journalAt, pointerAt]) => {
      const states = changes.map(([active, previous], i) => state(active, previous, i));
      const at = (i: number): OtaState => states[i] ?? initialOtaState;
      const journal: Stored<StoredState> = typeof journalAt === 'number' ? decodeState(encodeState({ sequence: journalAt + 1, state: at(journalAt) }))
        : journalAt === 'none' ? { kind: 'none' } : unsound;
      const pointer: Stored<Pointer> = typeof pointerAt === 'number' ? decodePointer(encodePointer(pointerOf(pointerAt + 1, at(pointerAt)))) : pointerAt === 'none' ? { kind: 'none' } : unsound;
      const { state: back, sequence, finding } = reconcile(journal, pointer, 3);
      const readable = [journalAt, pointerAt].filter((found) => typeof found === 'number');
      if (readable.length === 0) {
        expect(back).toMatchObject({ active: null, keep_all: true });
        expect(finding?.code).toBe('E_STATE_RECOVERED');
      } else {
        const latest = Math.max(...readable);
        expect(back.active).toEqual(at(latest).active);
        expect(back.previous).toEqual(at(latest).previous);
        expect(sequence).toBe(latest + 1);
        // Silence only when the journal itself was the latest word, and the second copy was not damaged.
        expect(finding === null).toBe(journalAt === latest && pointerAt !== 'unsound');
        expect(back.keep_all).toBe(journalAt !== latest);
      }
    }), { numRuns: 500 });
  });

  it('are silent on a device that never ran anything, and only there', () => {
    expect(reconcile({ kind: 'none' }, { kind: 'none' }, 0)).toEqual({ state: initialOtaState, sequence: 0, adopt: false, finding: null });
    expect(reconcile({ kind: 'none' }, { kind: 'none' }, 1)).toMatchObject({ adopt: true, state: { keep_all: true }, finding: { code: 'E_STATE_RECOVERED' } });
    expect(reconcile(unsound, { kind: 'none' }, 0)).toMatchObject({ adopt: false, state: { keep_all: true }, finding: { code: 'E_STATE_RECOVERED' } });
  });

  it('are silent at the second start of a device that was never updated, which has the second copy only', () => {
    const pointer = decodePointer(encodePointer(pointerOf(1, initialOtaState)));
    expect(reconcile({ kind: 'none' }, pointer, 0)).toMatchObject({ finding: null, sequence: 1, state: { active: null, keep_all: false } });
    expect(reconcile({ kind: 'none' }, pointer, 1).finding).not.toBeNull();
    expect(reconcile(unsound, pointer, 0).finding).not.toBeNull();
  });

  it('a journal of the version that did not count its changes is right: that version ran last', () => {
    const old = decodeState({ ...state(slot('a'), null, 3), warm_attempts: 1, probation: { digest: slot('a').digest, until_ms: 5, crashes: 2 } });
    const pointer = decodePointer(encodePointer(pointerOf(7, state(slot('b'), null, 9))));
    expect(reconcile(old, pointer, 2)).toMatchObject({ state: { active: { version: 'a' }, probation: { crashes: 0 }, warm_crashes: 0 }, sequence: 7, finding: null });
  });
});

describe('a stored state', () => {
  it('comes back as it was', () => {
    const stored = { ...state(slot('a'), slot('b'), 4), interruptions: 2, keep_all: true };
    expect(decodeState(JSON.parse(JSON.stringify(encodeState({ sequence: 5, state: stored }))))).toEqual({ kind: 'sound', value: { sequence: 5, state: stored } });
  });

  it.each([[{ version: 2 }], [{ version: 1, state: {} }], [{}], [7], [null], [[]], ['idle']])('is never taken for the initial one when it cannot be read: %j', (value) => {
    expect(decodeState(value).kind).toBe('unsound');
  });

  it('is read only if its phase has what belongs to it: a deployment under way names its candidate, a rejection also its reason', () => {
    const candidate = { ...slot('b'), generation: 2, block_bytes: 1 };
    const error = { code: 'E_OTA_HASH', message: '' };
    const kind = (change: object): string => decodeState({ version: 1, sequence: 1, state: { ...state(slot('a'), null, 1), ...change } }).kind;
    expect(kind({ phase: 'rejected', candidate, error })).toBe('sound');
    expect(kind({ phase: 'rejected', candidate, error: null })).toBe('unsound');
    for (const phase of busyPhases) expect([phase, kind({ phase, candidate }), kind({ phase, candidate: null })]).toEqual([phase, 'sound', 'unsound']);
  });

  it('forgets, when it is migrated, a generation that one hostile message had set', () => {
    const poisoned = { ...state(slot('a'), null, Number.MAX_SAFE_INTEGER), warm_attempts: 0 };
    expect(decodeState(poisoned)).toMatchObject({ value: { state: { generation_seen: null, generation_applied: null, active: { version: 'a' } } } });
    const candidate = { ...slot('b'), generation: Number.MAX_SAFE_INTEGER, block_bytes: 1 };
    expect(decodeState({ ...poisoned, phase: 'downloading', candidate })).toMatchObject({ value: { state: { phase: 'idle', candidate: null } } });
    expect(decodeState({ ...poisoned, generation_seen: MAX_FREE_GENERATION })).toMatchObject({ value: { state: { generation_seen: MAX_FREE_GENERATION } } });
  });
});

describe('the pointer file', () => {
  it('is unsound when any byte of it is another one, or its end is missing', () => {
    const text = encodePointer(pointerOf(3, state(slot('a'), slot('b'), 4)));
    fc.assert(fc.property(fc.nat(text.length - 2), fc.integer({ min: 1, max: 127 }), (at, flip) => {
      const damaged = text.slice(0, at) + String.fromCharCode(text.charCodeAt(at) ^ flip) + text.slice(at + 1);
      expect(decodePointer(damaged).kind).toBe('unsound');
      expect(decodePointer(text.slice(0, at)).kind).toBe('unsound');
    }));
  });
});
