import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Image } from '../../../../runtime/frame.js';
import type { Detection } from '../../../../runtime/stages/finding.js';
import { Auditor } from '../../../../runtime/vision/gates/auditor.js';
import { initialAudit, Lottery, missesTooMuch, missRate, stepAudit, strictnesses, thresholdFactor, type AuditOutcome, type AuditState } from '../../../../runtime/vision/gates/audit.js';
import { binomialAtMost, rateBounds, trialsToShow } from '../../../../runtime/vision/gates/binomial.js';
import type { AuditLook } from '../../../../runtime/vision/gates/gated-detector.js';
import { LentPictures } from '../../../support/lent-pictures.js';

const play = (outcomes: readonly AuditOutcome[], limit = 0.01): AuditState => outcomes.reduce<AuditState>((state, outcome) => stepAudit(state, outcome, { miss_limit: limit }), initialAudit);
const repeat = (n: number, outcome: AuditOutcome): AuditOutcome[] => new Array<AuditOutcome>(n).fill(outcome);

describe('bounds of a rate', () => {
  it('are those of Clopper and Pearson', () => {
    // Known values: 0 of n is 1 - 0.05^(1/n); 1 of 10 and 5 of 100 from published tables.
    expect(rateBounds(0, 299).upper).toBeCloseTo(1 - 0.05 ** (1 / 299), 9);
    expect(rateBounds(1, 10).upper).toBeCloseTo(0.3942, 4);
    expect(rateBounds(5, 100).upper).toBeCloseTo(0.1023, 4);
    expect(rateBounds(5, 100).lower).toBeCloseTo(0.0199, 4);
    expect(rateBounds(0, 0)).toEqual({ lower: 0, upper: 1 });
    expect(rateBounds(7, 7).upper).toBe(1);
    // Both bounds together as an interval of 95 %.
    expect(rateBounds(190, 200, 0.025).lower).toBeCloseTo(0.909972, 6);
    expect(rateBounds(190, 200, 0.025).upper).toBeCloseTo(0.975766, 6);
  });

  it('cover the rate at least as often as they claim', () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 400 }), fc.double({ min: 0.001, max: 0.5, noNaN: true }), (n, p) => {
      // The probability of a count whose upper bound is below p.
      let k = -1;
      while (k < n && rateBounds(k + 1, n).upper < p) k++;
      expect(k < 0 ? 0 : binomialAtMost(k, n, p)).toBeLessThanOrEqual(0.05 + 1e-9);
    }), { numRuns: 40 });
  });

  it('say how many trials without a miss are enough', () => {
    expect(trialsToShow(0.01)).toBe(299);
    for (const limit of [0.001, 0.02, 0.1]) {
      expect(rateBounds(0, trialsToShow(limit)).upper).toBeLessThanOrEqual(limit + 1e-12);
      expect(rateBounds(0, trialsToShow(limit) - 1).upper).toBeGreaterThan(limit);
    }
  });
});

describe('the audit', () => {
  it('leaves gates alone that miss nothing, and waits until it can know', () => {
    expect(play(repeat(5000, 'nothing new')).strictness).toBe('set');
    expect(play([...repeat(100, 'nothing new'), 'miss', ...repeat(100, 'nothing new')]).strictness).toBe('set');
    expect(play([...repeat(100, 'nothing new'), 'miss', ...repeat(200, 'nothing new')]).strictness).toBe('tight');
  });

  it('tightens gates that miss a lot at once, then switches them off, and counts on', () => {
    const state = play(repeat(40, 'miss'));
    expect(state).toMatchObject({ strictness: 'off', audits: 40, misses: 40 });
    expect(strictnesses.map(thresholdFactor)).toEqual([1, 0.5, 0.25, 0]);
  });

  it('never becomes less strict, never forgets a count, and is strict only for a reason', () => {
    const outcomes = fc.array(fc.constantFrom<AuditOutcome>('nothing new', 'nothing new', 'nothing new', 'miss', 'unsure'), { maxLength: 400 });
    fc.assert(fc.property(outcomes, fc.constantFrom(0.01, 0.05, 0.3), (list, limit) => {
      const settings = { share: 1, miss_limit: limit };
      let state = initialAudit;
      for (const outcome of list) {
        const next = stepAudit(state, outcome, settings);
        const [before, after] = [strictnesses.indexOf(state.strictness), strictnesses.indexOf(next.strictness)];
        expect(after - before === 0 || after - before === 1).toBe(true);
        if (after > before) expect(missesTooMuch({ ...state, outcomes: [...state.outcomes, outcome === 'miss'] }, settings)).toBe(true);
        expect(next.audits).toBe(state.audits + 1);
        expect(next.misses).toBe(state.misses + (outcome === 'miss' ? 1 : 0));
        expect(next.outcomes.length).toBeLessThanOrEqual(4 * trialsToShow(limit));
        state = next;
      }
      const { lower, upper, rate } = missRate(state);
      if (rate !== null) expect(lower <= rate && rate <= upper).toBe(true);
    }), { numRuns: 60 });
  });

  it('draws the share that it is asked for, the same frames for the same seed', () => {
    const drawn = (seed: number): boolean[] => { const lottery = new Lottery(0.1, seed); return Array.from({ length: 20_000 }, () => lottery.draw()); };
    const share = drawn(7).filter(Boolean).length / 20_000;
    expect(share).toBeGreaterThan(0.09);
    expect(share).toBeLessThan(0.11);
    expect(drawn(7)).toEqual(drawn(7));
    expect(drawn(8)).not.toEqual(drawn(7));
    expect(new Lottery(0, 1).draw()).toBe(false);
  });
});

describe('an auditor', () => {
  const image: Image = { width: 8, height: 8, data: new Uint8Array(192) };
  const face: Detection = { type: 'detection', label: 'face', score: 0.9, box: [0, 0, 4, 4] };
  const lookWith = (first: Detection[], again: Detection[]): AuditLook => ({ found: first.map((detection) => ({ detection, points: undefined })), again: () => Promise.resolve(again.map((detection) => ({ detection, points: undefined }))) });
  const auditorOf = (look: AuditLook | null): Auditor => new Auditor({ share: 1, miss_limit: 0.5 }, () => Promise.resolve(look), 1);

  it.each([
    ['finds nothing', lookWith([], []), [], { audits: 1, misses: 0, unsure: 0 }],
    ['finds who was there', lookWith([face], [face]), [{ ...face, box: [1, 0, 4, 4] as const }], { audits: 1, misses: 0, unsure: 0 }],
    ['finds somebody new', lookWith([face], [face]), [], { audits: 1, misses: 1, unsure: 0 }],
    ['finds somebody whom noise takes away', lookWith([face], []), [], { audits: 1, misses: 0, unsure: 1 }],
    ['has no models yet', null, [], { audits: 0, misses: 0, skipped: 1 }],
  ] as const)('%s', async (_, look, known, expected) => {
    const auditor = auditorOf(look);
    auditor.saw(known);
    expect(auditor.stopped(image)).toBe(true);
    await auditor.settled();
    expect(auditor.report).toMatchObject(expected);
  });

  it('keeps the picture that it looks at, and no other', async () => {
    const pictures = new LentPictures(192);
    const [drawn, left] = [pictures.take(), pictures.take()];
    const auditor = auditorOf(lookWith([], []));
    auditor.stopped({ ...image, data: drawn });
    auditor.stopped({ ...image, data: left });
    expect([pictures.isKept(drawn), pictures.isKept(left)]).toEqual([true, false]);
    await auditor.settled();
  });

  it('does one audit at a time, counts those it left out, and survives a detector that fails', async () => {
    let fail: (error: Error) => void = () => undefined;
    const auditor = new Auditor({ share: 1, miss_limit: 0.5 }, () => new Promise((_, reject) => { fail = reject; }), 1);
    expect([auditor.stopped(image), auditor.stopped(image)]).toEqual([true, false]);
    fail(new Error('broken'));
    await auditor.settled();
    expect(auditor.report).toMatchObject({ audits: 0, skipped: 2 });
    expect(auditor.stopped(image)).toBe(true);
  });
});
