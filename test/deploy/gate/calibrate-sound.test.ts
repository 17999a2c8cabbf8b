import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { SoundTrial } from '../../../deploy/gate/calibrate-sound.js';
import { buildPipelinePackage } from '../../../deploy/package/build.js';
import { merge } from '../../../deploy/package/describe.js';
import { defaultSoundSettings } from '../../../runtime/kinds/sound/settings.js';
import { ffmpeg } from '../../runtime/media/ffmpeg-available.js';
import { nativeMissing } from '../../runtime/support/native.js';
import { temporaryFolder } from '../../support/folder.js';
import { tinyEars, tinyEarsSettings, waveFile } from '../../support/tiny-ears.js';
import { captureCli } from '../cli/capture.js';

describe('a trial of the gate of sound', () => {
  const { gate } = defaultSoundSettings;
  const decisions = { ...defaultSoundSettings, smoothing_windows: 1, release_ms: 0, classes: [{ label: 'siren', members: [0], on: 0.5, off: 0.3, min_ms: 0 }] };
  const outcome = (trial: SoundTrial, windows: readonly (readonly [levelDb: number, score: number])[]): SoundTrial['outcome'] => {
    windows.forEach(([levelDb, score], i) => trial.add(levelDb, { scores: [score], heard: score >= 0.5 }, { fromMs: 100 * i, untilMs: 100 * (i + 1) }));
    return trial.outcome;
  };
  const closed = { ...gate, least_db: -60, hold_ms: 0 };

  it('counts a window that stopped although the model hears something in it', () => {
    const windows = [[-70, 0], [-70, 0], [-50, 0.9], [-70, 0]] as const;
    // The first window runs in any case, and an event keeps the gate open until it is over.
    expect(outcome(new SoundTrial(3, closed, decisions), windows)).toEqual({ frames: 4, stopped: 1, missed: 0 });
    expect(outcome(new SoundTrial(3, { ...closed, least_db: -40 }, decisions), windows)).toEqual({ frames: 4, stopped: 3, missed: 1 });
  });

  it('stays open while an event lasts, however soft it becomes', () => {
    expect(outcome(new SoundTrial(3, closed, decisions), [[-70, 0], [-50, 0.9], [-70, 0.9], [-70, 0.9], [-70, 0]])).toEqual({ frames: 5, stopped: 0, missed: 0 });
  });
});

describe.skipIf(nativeMissing !== undefined || ffmpeg === null)('sterna gate calibrate, with a package of sound', () => {
  /** A hum of 200 Hz at these amplitudes, one after the other. */
  const hum = (pieces: readonly (readonly [amplitude: number, seconds: number])[]): Float32Array =>
    Float32Array.from(pieces.flatMap(([amplitude, seconds]) => Array.from({ length: 16_000 * seconds }, (_, i) => amplitude * Math.sin((2 * Math.PI * 200 * i) / 16_000))));

  it('takes the margin that spares most and misses nothing, and writes settings that a package takes', async () => {
    const folder = temporaryFolder();
    const settings = merge(tinyEarsSettings, { settings: { gate: { hold_ms: 0, rise_db_per_s: 6 } } });
    const path = join(folder, 'ears.sterna');
    writeFileSync(path, (await buildPipelinePackage('sound', { classifier: tinyEars() }, { name: 'ears', version: '1.0.0', overrides: settings })).bytes);
    // Steps that are 6 dB louder than the noise mean nothing to the model; 9 dB louder it hears a sound.
    const street = join(folder, 'street');
    mkdirSync(street);
    for (const name of ['a.wav', 'b.wav']) writeFileSync(join(street, name), waveFile(hum(Array.from({ length: 3 }, () => [[0.09, 3], [0.178, 1], [0.09, 3], [0.25, 1]] as const).flat())));
    const [output, svg] = [join(folder, 'gates.json'), join(folder, 'gates.svg')];
    const { code, out, err } = await captureCli(['--json', 'gate', 'calibrate', path, '--input', street, '--output', output, '--svg', svg]);
    expect([code, err]).toEqual([0, expect.any(String)]);
    const found = JSON.parse(out) as { windows: number; heard: number; points: { margin_db: number | null; missRate: number }[] };
    expect(found).toMatchObject({ windows: 480, chosen: { margin_db: 8, missed: 0 } });
    expect(found.heard).toBeGreaterThan(40);
    expect(found.points.find(({ margin_db: margin }) => margin === 13)?.missRate).toBeGreaterThan(0.05);
    expect(JSON.parse(readFileSync(output, 'utf8'))).toMatchObject({ settings: { gate: { enabled: true, margin_db: 8, hold_ms: 0 } } });
    expect(readFileSync(svg, 'utf8')).toContain('<title>8 dB</title>');
    const heard = await captureCli(['--json', 'run', path, '--input', join(street, 'a.wav'), '--gates', output, '--limit', '60']);
    expect(heard.code).toBe(0);
    expect(heard.out).toContain('"exit":"silence"');
  });

  it('refuses recordings that are too short to show anything', async () => {
    const folder = temporaryFolder();
    const [path, wave] = [join(folder, 'ears.sterna'), join(folder, 'short.wav')];
    writeFileSync(path, (await buildPipelinePackage('sound', { classifier: tinyEars() }, { name: 'ears', version: '1.0.0', overrides: tinyEarsSettings })).bytes);
    writeFileSync(wave, waveFile(hum([[0.1, 1]])));
    const { code, err } = await captureCli(['gate', 'calibrate', path, '--input', wave, '--output', join(folder, 'gates.json')]);
    expect([code, err]).toEqual([2, expect.stringContaining('E_USAGE')]);
  });
});
