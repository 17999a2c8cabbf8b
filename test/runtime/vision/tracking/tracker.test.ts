import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Box } from '../../../../runtime/stages/finding.js';
import { boxOf, correctBox, predictBox, startBox } from '../../../../runtime/vision/tracking/box-filter.js';
import { defaultTracking } from '../../../../runtime/vision/tracking/settings.js';
import { noTracks, stepTracker } from '../../../../runtime/vision/tracking/tracker.js';
import type { Sight, TrackedFrame, TrackerLimits, TrackerState, TrackerStep } from '../../../../runtime/vision/tracking/tracker.js';
import { random as seeded } from '../../support/random.js';

const limits: TrackerLimits = { ...defaultTracking, score_threshold: 0.5 };
const person = (x: number, y = 100, score = 0.9): Sight => ({ box: [x, y, 40, 100], score, label: 'person' });

function play(frames: readonly TrackedFrame[], state: TrackerState = noTracks): TrackerStep[] {
  let now = state;
  return frames.map((frame) => {
    const step = stepTracker(now, frame, limits);
    now = step.state;
    return step;
  });
}
const last = (steps: readonly TrackerStep[]): TrackerStep => steps.at(-1) ?? { state: noTracks, tracks: [], trackOf: [] };
const at = (nowMs: number, ...sights: Sight[]): TrackedFrame => ({ nowMs, sights });
const closed = (nowMs: number): TrackedFrame => ({ nowMs, sights: null });

/** Somebody who moves at a constant speed; `hidden`: the detector does not see them, `dim`: it is not sure. */
interface Walker {
  box: (s: number) => Box;
  hidden?: (s: number) => boolean;
  dim?: (s: number) => boolean;
}

/** What a detector with jitter finds of walkers, at these times; the sights of a frame are in the walkers' order, with who they are. */
function scene(walkers: readonly Walker[], timesMs: readonly number[], seed = 1): { frame: TrackedFrame; who: number[] }[] {
  const random = seeded(seed);
  const jitter = (): number => random() * 4 - 2;
  return timesMs.map((nowMs) => {
    const who: number[] = [];
    const sights = walkers.flatMap(({ box, hidden, dim }, i): Sight[] => {
      if (hidden?.(nowMs / 1000) === true) return [];
      who.push(i);
      const [x, y, w, h] = box(nowMs / 1000);
      return [{ box: [x + jitter(), y + jitter(), w + jitter(), h + jitter()], score: dim?.(nowMs / 1000) === true ? 0.3 : 0.6 + random() * 0.4, label: 'person' }];
    });
    return { frame: { nowMs, sights }, who };
  });
}

/** Numbers that each walker had, in order, without repetition; a weak box that continued nothing has none. */
function numbersOf(walkers: readonly Walker[], timesMs: readonly number[], seed?: number): number[][] {
  const frames = scene(walkers, timesMs, seed);
  const steps = play(frames.map(({ frame }) => frame));
  return walkers.map((_, i) => [...new Set(frames.flatMap(({ who }, f) => who.flatMap((walker, k) => (walker === i ? [steps[f]?.trackOf[k] ?? []].flat() : []))))]);
}

const every = (ms: number, count: number): number[] => Array.from({ length: count }, (_, i) => i * ms);
const between = (from: number, to: number) => (s: number): boolean => s > from && s < to;

describe('tracks', () => {
  it('keep their number while somebody walks, and say how fast', () => {
    const steps = play(every(40, 50).map((ms) => at(ms, person(ms / 10))));
    expect(new Set(steps.flatMap(({ trackOf }) => trackOf))).toEqual(new Set([1]));
    const [track] = last(steps).tracks;
    expect(track).toMatchObject({ id: 1, label: 'person', status: 'seen', sights: 50, confirmed: true, ageMs: 49 * 40 });
    expect(track?.velocity[0]).toBeCloseTo(100, -1);
    expect(Math.abs(track?.velocity[1] ?? NaN)).toBeLessThan(1);
  });

  it('are reported from the second sight on, and a single false one ends at once', () => {
    const [first, second] = play([at(0, person(0)), at(40, person(1))]);
    expect([first?.tracks[0]?.confirmed, second?.tracks[0]?.confirmed]).toEqual([false, true]);
    expect(last(play([at(0, person(0)), at(40)])).tracks).toEqual([]);
  });

  it('go on by boxes of low score, which start none', () => {
    const steps = play([at(0, person(0, 100, 0.3)), at(40, person(0)), at(80, person(0)), at(120, person(0, 100, 0.3))]);
    expect(steps.map(({ trackOf }) => trackOf)).toEqual([[null], [1], [1], [1]]);
    expect(last(steps).tracks[0]?.status).toBe('seen');
  });

  it('survive that somebody is hidden for a second', () => {
    expect(numbersOf([{ box: (s) => [s * 80, 100, 40, 100], hidden: between(1, 2) }], every(40, 100))).toEqual([[1]]);
  });

  it('end after the time without a sight, and the number is not used again', () => {
    const gone = [at(0, person(0)), at(40, person(0)), ...every(100, 20).map((ms) => at(140 + ms))];
    const steps = play([...gone, at(3000, person(0))]);
    expect(steps.at(-2)?.tracks).toEqual([]);
    expect(last(steps).trackOf).toEqual([2]);
    expect(play(gone.slice(0, 10)).at(-1)?.tracks[0]).toMatchObject({ id: 1, status: 'lost' });
  });

  it('do not change hands when people cross, one hidden behind the other', () => {
    const left: Walker = { box: (s) => [50 + s * 80, 100, 40, 100] };
    const right: Walker = { box: (s) => [370 - s * 80, 104, 40, 100], hidden: between(1.75, 2.25), dim: (s) => between(1.6, 2.4)(s) };
    for (let seed = 1; seed <= 20; seed++) expect(numbersOf([left, right], every(40, 100), seed)).toEqual([[1], [2]]);
  });

  it('do not change hands in a crowd of people who cross at several heights', () => {
    const crowd: Walker[] = Array.from({ length: 8 }, (_, i) => ({ box: (s) => [i % 2 === 0 ? 20 + s * 60 : 400 - s * 60, 40 + i * 18, 40, 100], ...(i % 2 === 0 ? {} : { hidden: between(2.8 + i / 20, 3.2 + i / 20) }) }));
    for (let seed = 1; seed <= 5; seed++) expect(numbersOf(crowd, every(40, 160), seed)).toEqual(crowd.map((_, i) => [i + 1]));
  });

  it('do not mix labels', () => {
    const dog: Sight = { ...person(0), label: 'dog' };
    expect(last(play([at(0, person(0)), at(40, person(0)), at(80, dog)])).trackOf).toEqual([2]);
  });

  it('of things that stand still outlast a closed gate, however long, and then go on', () => {
    const steps = play([...every(40, 10).map((ms) => at(ms, person(5))), ...every(40, 1000).map((ms) => closed(400 + ms)), at(40_440, person(6))]);
    expect(steps[500]?.tracks).toMatchObject([{ id: 1, status: 'held', velocity: [0, 0] }]);
    expect(last(steps)).toMatchObject({ trackOf: [1], tracks: [{ id: 1, status: 'seen' }] });
  });

  it('over places that the detector did not look at do not age, those elsewhere do', () => {
    const quiet = ([x]: Box): boolean => x < 100;
    const steps = play([at(0, person(5), person(300)), at(40, person(5), person(300)), ...every(100, 100).map((ms): TrackedFrame => ({ nowMs: 100 + ms, sights: [], unseen: quiet }))]);
    expect(last(steps).tracks).toMatchObject([{ id: 1, status: 'held' }]);
    expect(last(steps).tracks).toHaveLength(1);
  });

  it('of somebody who was lost when the gate closed are not shown as held', () => {
    expect(last(play([at(0, person(0)), at(40, person(0)), at(80), closed(120)])).tracks).toMatchObject([{ status: 'lost' }]);
  });

  it('follow whoever stands still over a gap of the camera, and do not shoot away with somebody who walked', () => {
    const walked = play(every(40, 50).map((ms) => at(ms, person(ms / 10))));
    expect(last(play([at(12_000, person(200))], last(walked).state)).trackOf).toEqual([1]);
  });

  it('keep one number for a steady walk seen at any intervals, up to a fifth of the size apart', () => {
    fc.assert(fc.property(fc.array(fc.integer({ min: 5, max: 200 }), { minLength: 5, maxLength: 60 }), fc.integer({ min: -60, max: 60 }), fc.integer(), (gaps, speed, seed) => {
      let now = 0;
      const times = gaps.map((gap) => (now += gap));
      expect(numbersOf([{ box: (s) => [500 + s * speed, 100, 60, 120] }], times, seed)).toEqual([[1]]);
    }));
  });

  it('are sound whatever is seen: one track a sight, numbers that grow, finite boxes, the same answer twice', () => {
    const sight = fc.record({ box: fc.tuple(fc.integer({ min: -50, max: 700 }), fc.integer({ min: -50, max: 500 }), fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 300 })), score: fc.double({ min: 0, max: 1, noNaN: true }), label: fc.constantFrom('person', 'dog') });
    const frame = fc.record({ gap: fc.integer({ min: 0, max: 3000 }), sights: fc.option(fc.array(sight, { maxLength: 6 })), half: fc.boolean() });
    fc.assert(fc.property(fc.array(frame, { maxLength: 40 }), (frames) => {
      let now = 0;
      const film = frames.map(({ gap, sights, half }): TrackedFrame => ({ nowMs: (now += gap), sights, unseen: half ? ([x]) => x < 300 : undefined }));
      const steps = play(film);
      expect(play(film)).toEqual(steps);
      let highest = 0;
      steps.forEach(({ tracks, trackOf }, i) => {
        const given = trackOf.filter((id) => id !== null);
        expect(new Set(given).size).toBe(given.length);
        expect(tracks.map(({ id }) => id)).toEqual([...new Set(tracks.map(({ id }) => id))].sort((a, b) => a - b));
        for (const { id, box, velocity } of tracks) {
          expect([...box, ...velocity].every(Number.isFinite)).toBe(true);
          if (id > highest) expect(given).toContain(id);
        }
        highest = Math.max(highest, ...tracks.map(({ id }) => id));
        trackOf.forEach((id, k) => {
          const seen = film[i]?.sights?.[k];
          if (id === null) expect(seen?.score).toBeLessThan(limits.score_threshold);
          else expect(tracks.find((track) => track.id === id)).toMatchObject({ status: 'seen', label: seen?.label, score: seen?.score });
        });
      });
    }));
  });
});

describe('the filter of a box', () => {
  it('is that of Kalman: covariances stay positive, and the estimate beats the detector', () => {
    const random = seeded(7);
    let state = startBox([0, 0, 50, 50]);
    let filtered = 0;
    let raw = 0;
    for (let i = 1; i <= 400; i++) {
      const truth = i * 4;
      const seen = truth + (random() + random() + random() - 1.5) * 5;
      state = correctBox(predictBox(state, 0.04), [seen, 0, 50, 50]);
      for (const { varValue, varSpeed, covariance } of [state.x, state.y, state.width, state.height]) {
        expect(varValue).toBeGreaterThan(0);
        expect(varValue * varSpeed - covariance * covariance).toBeGreaterThan(0);
      }
      if (i > 20) {
        filtered += (boxOf(state)[0] - truth) ** 2;
        raw += (seen - truth) ** 2;
      }
    }
    expect(filtered).toBeLessThan(raw * 0.6);
  });

  it('trusts a weak box less', () => {
    const moved = (trust: number): number => boxOf(correctBox(predictBox(startBox([0, 0, 50, 50]), 0.04), [10, 0, 50, 50], trust))[0];
    expect(moved(0.5)).toBeLessThan(moved(1));
  });

  it('does not let a box shrink to nothing', () => {
    let state = startBox([0, 0, 100, 100]);
    for (const side of [80, 60, 40, 20]) state = correctBox(predictBox(state, 0.1), [0, 0, side, side]);
    expect(boxOf(predictBox(state, 5))[2]).toBeGreaterThanOrEqual(1);
  });
});
