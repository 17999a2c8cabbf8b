import { describe, expect, it } from 'vitest';
import { emptyHearing, endAll, stepHearing } from '../../../agent/inference/hearing.js';
import { RateFault, SoundFaults } from '../../../agent/inference/sound-faults.js';
import type { SoundEvent } from '../../../runtime/stages/finding.js';

const sound = (label: string, onsetMs: number, durationMs: number): SoundEvent => ({ type: 'sound', label, score: 0.9, onsetMs, durationMs });
const short = ({ action, finding }: { action: string; finding: { label: string } }): string => `${finding.label} ${action}`;

describe('what is heard', () => {
  it('is told in the chunk in which the pipeline decides it, once, and ends with its own duration', () => {
    const told: string[] = [];
    let state = emptyHearing;
    let last: unknown;
    for (const findings of [[], [sound('siren', 100, 100)], [sound('siren', 100, 200), sound('dog', 200, 100)], [sound('siren', 100, 300)], []]) {
      const step = stepHearing(state, findings);
      state = step.state;
      told.push(step.events.map(short).join(', '));
      last = step.events.at(-1) ?? last;
    }
    expect(told).toEqual(['', 'siren appeared', 'dog appeared', 'dog left', 'siren left']);
    expect(last).toMatchObject({ visibleMs: 300, finding: { onsetMs: 100, durationMs: 300 } });
  });

  it('the same label with another onset is another sound', () => {
    const { state } = stepHearing(emptyHearing, [sound('dog', 100, 100)]);
    expect(stepHearing(state, [sound('dog', 900, 100)]).events.map(short)).toEqual(['dog left', 'dog appeared']);
  });

  it('ends when the microphone goes', () => {
    expect(endAll(stepHearing(emptyHearing, [sound('dog', 1, 2)]).state).map(short)).toEqual(['dog left']);
  });
});

describe('a clock that is not that of a sound card', () => {
  it('is one warning until it goes right, or the microphone is gone', () => {
    const told: string[] = [];
    const rate = new RateFault({ raise: (component, { code, message }, severity) => told.push(`${component} ${code} ${severity ?? ''}: ${message}`), clear: (component, code) => told.push(`${component} ${code ?? ''} over`) });
    const drifts = (...ppm: (number | null)[]): string[] => {
      told.length = 0;
      for (const driftPpm of ppm) rate.note(driftPpm === null ? null : { driftPpm, jitterMs: 3 });
      return [...told];
    };
    expect(drifts(null, 300, -9999)).toEqual([]);
    expect(drifts(-81_250, -70_000, null, 6000)).toEqual(['microphone E_SOUND_RATE warning: Samples come 8.1 % slower than their rate says: the stated rate is wrong, or the source or this machine cannot keep up']);
    expect(drifts(-4999, 0)).toEqual(['microphone E_SOUND_RATE over']);
    expect(drifts(88_000)).toEqual([expect.stringContaining('8.8 % faster')]);
    rate.gone();
    rate.gone();
    expect(told.slice(1)).toEqual(['microphone E_SOUND_RATE over']);
  });
});

describe('a signal with a defect', () => {
  it('is one warning for as long as it lasts', () => {
    const told: string[] = [];
    const faults = new SoundFaults({ raise: (component, { code, message }, severity) => told.push(`${component} ${code} ${severity ?? ''}: ${message.slice(0, 20)}`), clear: (component, code) => told.push(`${component} ${code ?? ''} over`) });
    faults.note(['E_SOUND_CLIPPED']);
    faults.note(['E_SOUND_CLIPPED', 'E_SOUND_OFFSET']);
    faults.note(['E_SOUND_OFFSET']);
    faults.note([]);
    expect(told).toEqual(['microphone E_SOUND_CLIPPED warning: The sound is clipped', 'microphone E_SOUND_OFFSET warning: The sound has a cons', 'microphone E_SOUND_CLIPPED over', 'microphone E_SOUND_OFFSET over']);
  });
});
