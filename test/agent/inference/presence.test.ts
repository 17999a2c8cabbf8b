import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { emptyPresence, leaveAll, presentNow, stepPresence, type PresenceEvent, type PresenceState } from '../../../agent/inference/presence.js';
import type { Detection, Finding, PipelineResult, TrackFinding } from '../../../runtime/pipeline/types.js';

const options = { appearFrames: 3, unknownFrames: 5, leaveMs: 1000 };
const face = (id: number | null | undefined, similarity = 0.7): Detection => ({
  type: 'detection', box: [0, 0, 10, 10], score: 0.9, label: 'face', ...(id === undefined ? {} : { identity: id === null ? null : { personId: id, name: `p${id}`, similarity } }),
});
const frame = (ms: number, detections: Finding[], exit: PipelineResult['exit'] = 'full'): PipelineResult => ({ sequence: ms, capturedMs: ms, findings: detections, exit, cells: null, audit: false, stages: [], totalMs: 1 });

function play(frames: readonly PipelineResult[]): { state: PresenceState; events: PresenceEvent[] } {
  return frames.reduce<{ state: PresenceState; events: PresenceEvent[] }>((so, f) => {
    const { state, events } = stepPresence(so.state, f, options);
    return { state, events: [...so.events, ...events] };
  }, { state: emptyPresence, events: [] });
}

const told = (events: readonly PresenceEvent[]): string[] => events.map((e) => `${e.identity?.name ?? 'unknown'} ${e.action}`);
const every100 = (n: number, detections: Finding[], from = 0, exit: PipelineResult['exit'] = 'full'): PipelineResult[] => Array.from({ length: n }, (_, i) => frame(from + i * 100, detections, exit));

describe('presence', () => {
  it('says once that somebody appeared, and once that they left', () => {
    const { events } = play([...every100(20, [face(1)]), ...every100(20, [], 2000)]);
    expect(told(events)).toEqual(['p1 appeared', 'p1 left']);
    expect(events[1]?.visibleMs).toBe(1900);
  });

  it('ignores a flicker, and tolerates one miss', () => {
    expect(told(play([...every100(2, [face(1)]), ...every100(9, [], 200)]).events)).toEqual([]);
    expect(told(play([frame(0, [face(1)]), frame(100, []), frame(200, [face(1)]), frame(300, [face(1)])]).events)).toEqual(['p1 appeared']);
    expect(told(play([frame(0, [face(1)]), frame(100, []), frame(200, []), frame(300, [face(1)]), frame(400, [face(1)])]).events)).toEqual([]);
  });

  it('waits longer before it calls somebody a stranger', () => {
    expect(told(play(every100(4, [face(null)])).events)).toEqual([]);
    expect(told(play(every100(5, [face(null)])).events)).toEqual(['unknown appeared']);
  });

  it('tells a picture of somebody apart from strangers', () => {
    const picture: Detection = { ...face(null), track: 4, liveness: { score: 0.1, live: false } };
    const holder: Detection = { ...face(null), track: 5, liveness: { score: 0.9, live: true } };
    const { events } = play(every100(6, [picture, holder]));
    expect(events.map(({ action, finding }) => [action, 'liveness' in finding && finding.liveness?.live])).toEqual([['appeared', false], ['appeared', true]]);
    // The same track turns out to be somebody: the picture stays what it was until it is gone.
    const turned = play([...every100(6, [picture]), ...every100(5, [{ ...face(1), track: 4, liveness: { score: 0.9, live: true } }], 600)]);
    expect(turned.events.map(({ action, identity }) => [action, identity?.name])).toEqual([['appeared', undefined], ['appeared', 'p1']]);
  });

  it('knows several people at a time', () => {
    expect(told(play(every100(4, [face(1), face(2)])).events).sort()).toEqual(['p1 appeared', 'p2 appeared']);
  });

  it('does not let people leave while nothing moves', () => {
    const { state, events } = play([...every100(5, [face(1)]), ...every100(50, [], 500, 'pixels')]);
    expect(told(events)).toEqual(['p1 appeared']);
    expect(presentNow(state)).toHaveLength(1);
    expect(leaveAll(state).map((e) => e.action)).toEqual(['left']);
  });

  it('counts no face that was not embedded', () => {
    expect(play(every100(20, [face(undefined)])).events).toEqual([]);
  });

  it('follows things without an identity by track, or else by type and label', () => {
    const cat = (score: number, track?: number): Detection => ({ type: 'detection', label: 'cat', score, box: [0, 0, 9, 9], ...(track === undefined ? {} : { track }) });
    const sights = (...findings: Finding[]): PresenceEvent[] => {
      const seen = [...Array.from({ length: 4 }, (_, i) => frame(i * 100, [])), frame(2000, [])].map((f, i) => ({ ...f, identifies: false, findings: i < 4 ? findings : [] }));
      return seen.reduce<{ state: PresenceState; events: PresenceEvent[] }>((so, f) => {
        const { state, events } = stepPresence(so.state, f, options);
        return { state, events: [...so.events, ...events] };
      }, { state: emptyPresence, events: [] }).events;
    };
    const words = (events: readonly PresenceEvent[]): string[] => events.map(({ action, finding: { label, score } }) => `${label} ${score} ${action}`);
    expect(words(sights(cat(0.5), cat(0.9)))).toEqual(['cat 0.9 appeared', 'cat 0.9 left']);
    expect(words(sights(cat(0.5, 1), cat(0.9, 2)))).toEqual(['cat 0.5 appeared', 'cat 0.9 appeared', 'cat 0.5 left', 'cat 0.9 left']);
    expect(words(sights({ type: 'class', label: 'rain', score: 0.4 }))).toEqual(['rain 0.4 appeared', 'rain 0.4 left']);
  });

  it('tells strangers apart by their tracks, and lets one go who turns out to be somebody', () => {
    const followed = (track: number, id: number | null): TrackFinding => ({
      type: 'track', track, status: 'seen', ageMs: 0, velocity: [0, 0], box: [0, 0, 9, 9], score: 0.9, label: 'face', identity: id === null ? null : { personId: id, name: `p${id}`, similarity: 0.7 },
    });
    const frames = [...every100(6, [followed(1, null), followed(2, null)]), ...every100(4, [followed(1, 7), followed(2, null)], 600)];
    const { state, events } = play(frames);
    expect(events.map(({ action, identity, finding }) => `${identity?.name ?? 'unknown'} ${'track' in finding ? finding.track : ''} ${action}`))
      .toEqual(['unknown 1 appeared', 'unknown 2 appeared', 'unknown 1 left', 'p7 1 appeared']);
    expect(presentNow(state)).toHaveLength(2);
  });

  it('keeps the best sight', () => {
    const { events } = play([frame(0, [face(1, 0.5)]), frame(100, [face(1, 0.9)]), frame(200, [face(1, 0.6)])]);
    expect(events[0]?.identity?.similarity).toBe(0.9);
  });

  it('appeared and left alternate for each person, whatever happens', () => {
    const anyFace = fc.constantFrom(face(1), face(2), face(null), face(undefined));
    const anyFrame = fc.record({ gap: fc.integer({ min: 1, max: 1500 }), faces: fc.array(anyFace, { maxLength: 3 }), motion: fc.boolean() });
    fc.assert(fc.property(fc.array(anyFrame, { maxLength: 80 }), (frames) => {
      let now = 0;
      const { events, state } = play(frames.map(({ gap, faces, motion }) => frame((now += gap), motion ? [] : faces, motion ? 'pixels' : 'full')));
      for (const name of ['p1', 'p2', 'unknown']) {
        const actions = [...events, ...leaveAll(state)].filter((e) => (e.identity?.name ?? 'unknown') === name).map((e) => e.action);
        expect(actions).toEqual(actions.map((_, i) => (i % 2 === 0 ? 'appeared' : 'left')));
        expect(actions.length % 2).toBe(0);
      }
    }));
  });
});
