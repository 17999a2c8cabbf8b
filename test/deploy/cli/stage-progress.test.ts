import { describe, expect, it } from 'vitest';
import { durationText, StageProgress } from '../../../deploy/cli/stage-progress.js';

/** A view on a terminal of 80 columns, or without one, and all that it shows; `at` is its clock in milliseconds. */
function view(terminal: boolean) {
  const clock = { at: 0 };
  const shown: string[] = [];
  const progress = new StageProgress({ terminal: terminal ? { write: (text) => void shown.push(text.replace('\r\u001b[2K', '')), columns: 80 } : null, line: (text) => void shown.push(text) }, () => clock.at);
  return { clock, shown, progress };
}

describe('progress of stages', () => {
  it('is a bar with share and time left on a terminal', () => {
    const { clock, shown, progress } = view(true);
    progress.update('calibrating', 0, 40);
    clock.at = 10_000;
    progress.update('calibrating', 10, 40);
    progress.update('calibrating', 11, 40); // within the same tenth of a second: not drawn
    clock.at = 40_000;
    progress.update('calibrating', 40, 40);
    expect(shown).toEqual(['calibrating [                        ] 0 %', 'calibrating [######                  ] 25 %, 30 s left', 'calibrating [########################] 100 %, 0 s left']);
  });

  it('counts where nobody knows how much there is, says what a step is about, and is cut at the width', () => {
    const { clock, shown, progress } = view(true);
    progress.update('pictures', 3, null, 'a'.repeat(100));
    expect(shown[0]).toBe(`pictures: 3: ${'a'.repeat(66)}`);
    clock.at = 500;
    progress.clear();
    progress.clear();
    expect(shown.slice(1)).toEqual(['']);
  });

  it('is one line a stage elsewhere, and nothing without an output', () => {
    const { shown, progress } = view(false);
    for (const stage of ['calibrating', 'measuring']) for (let done = 0; done <= 4; done++) progress.update(stage, done, 4);
    progress.clear();
    expect(shown).toEqual(['sterna: calibrating', 'sterna: measuring']);
    new StageProgress(null).update('calibrating', 0, 4);
  });
});

it('durations are told in seconds, then in minutes', () => expect([300, 59_000, 61_000].map(durationText)).toEqual(['1 s', '59 s', '1 min 1 s']));
