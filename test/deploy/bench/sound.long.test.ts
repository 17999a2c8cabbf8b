import { describe, expect, it } from 'vitest';
import { featureBars } from '../../../deploy/bench/sound/features.js';
import { listeningBars } from '../../../deploy/bench/sound/listening.js';
import { streamBars } from '../../../deploy/bench/sound/stream.js';
import { nativeMissing } from '../../runtime/support/native.js';
import { ffmpeg } from '../../runtime/media/ffmpeg-available.js';
import { captureCli } from '../cli/capture.js';

/** What the figures are is for the bench to say: a test on a shared machine only sees that they come about. */
describe.skipIf(nativeMissing !== undefined)('the bench of sound', () => {
  it('measures features, decisions, and listening in sound and in silence', async () => {
    const bars = [...await featureBars(), ...await listeningBars()];
    expect(bars.map(({ id, unit }) => [id, unit])).toEqual([['sound.features', 'ms'], ['sound.decision', 'ms'], ['sound.listening', '%'], ['sound.silence', '%']]);
    for (const { value, bar, met } of bars) expect(met).toBe(value > 0 && value <= Number(/[\d.]+/.exec(String(bar))?.[0]));
  }, 120_000);

  it.skipIf(ffmpeg === null)('measures the time from sound to event on a daemon with a camera', async () => {
    const bars = await streamBars({ seconds: 4, signal: new AbortController().signal });
    expect(bars.map(({ id }) => id)).toEqual(['sound.to_event_p99', 'sound.to_event_worst', 'sound.not_decided']);
    // A chunk and the smoothing alone take 200 ms.
    expect(bars[0]?.value).toBeGreaterThanOrEqual(200);
    expect(bars[0]?.what).toMatch(/beside a camera with \d+\.\d frames\/s \([1-9]\d* decisions, \d+ with events\)/);
    const [, waited, slow, lost] = /: (\d+) had waited .*, (\d+) had a run .*, (\d+) were stopped or lost/.exec(bars[2]?.what ?? '') ?? [];
    expect(Number(waited) + Number(slow) + Number(lost)).toBe(bars[2]?.value);
  }, 180_000);

  it('names what a section needs, and refuses sections that do not exist', async () => {
    const { code, out } = await captureCli(['--json', 'bench-sound', '--only', 'published']);
    expect([code, JSON.parse(out) as object]).toMatchObject([0, { bars: [], absent: { published: 'it needs --models FOLDER and --sounds FOLDER' } }]);
    expect(await captureCli(['bench-sound', '--only', 'nothing'])).toMatchObject({ code: 1, err: expect.stringMatching(/E_BENCH.*features, listening, columns, stream, sirens, published, student-cost, student, labels/) as unknown });
  });
});
