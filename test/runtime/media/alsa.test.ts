/** Capture through ALSA, from its own `file` device, which needs no card: the library, ffmpeg's input of it, and what is made of its errors. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { InferenceLoop, type CameraState } from '../../../agent/inference/loop.js';
import { PipelineSlot } from '../../../agent/inference/pipeline-slot.js';
import { systemClock } from '../../../agent/platform/clock.js';
import type { AudioChunk } from '../../../runtime/frame.js';
import { openSoundSource, type SoundOptions } from '../../../runtime/media/index.js';
import { ffmpeg } from './ffmpeg-available.js';

const folder = mkdtempSync(join(tmpdir(), 'sterna-alsa-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string): string => join(folder, name);

/** What ffmpeg asks a card for. */
const cardRate = 48_000;
const [left, right] = [440, 1000];
const level = 0.25;

/** Two seconds, which the device repeats: whole periods of a tone for each channel. */
function tones(...frequencies: readonly number[]): Int16Array {
  const samples = new Int16Array(2 * cardRate * frequencies.length);
  for (let i = 0; i < samples.length; i++) {
    const frequency = frequencies[i % frequencies.length] ?? 0;
    samples[i] = Math.round(level * 32_767 * Math.sin((2 * Math.PI * frequency * Math.floor(i / frequencies.length)) / cardRate));
  }
  return samples;
}

/** A device that plays a file of raw samples over and over, over one that has no clock: it delivers as fast as it is read. */
const device = (name: string, slave = '{ type null }'): string => `pcm.${name} { type file; slave.pcm ${slave}; file /dev/null; infile "${at(name)}"; format raw }\n`;
/** A card with so many channels and no other number of them. */
const only = (channels: number): string => `{ type multi; slaves.a { pcm { type null }; channels ${channels} }; bindings { ${Array.from({ length: channels }, (_, i) => `${i} { slave a; channel ${i} }`).join(' ')} } }`;

for (const [name, samples] of [['mono', tones(left, left)], ['stereo', tones(left, right)], ['six', tones(left, left, left, left, left, left)]] as const) writeFileSync(at(name), samples);
writeFileSync(at('asound.conf'), device('mono') + device('stereo') + device('six', only(6)));

/** Why there is no capture here. */
const missing = ((): string | null => {
  if (ffmpeg === null) return 'ffmpeg is not installed';
  const words = ['-hide_banner', '-nostdin', '-loglevel', 'error', '-f', 'alsa', '-i', 'mono', '-frames:a', '1', '-f', 'null', '-'];
  const { status, stderr } = spawnSync(ffmpeg, words, { encoding: 'utf8', timeout: 20_000, env: { ...process.env, ALSA_CONFIG_PATH: at('asound.conf') } });
  if (status === 0) return null;
  return /Unknown input format/.test(stderr) ? 'this ffmpeg was built without ALSA' : `ALSA's file device does not work: ${stderr.trim().split('\n').at(-1) ?? ''}`;
})();

async function hear(spec: string, seconds: number, options: SoundOptions = {}): Promise<AudioChunk[]> {
  const chunks: AudioChunk[] = [];
  for await (const chunk of openSoundSource(spec, options)) {
    chunks.push(chunk);
    if (chunks.length * chunk.samples.length >= seconds * chunk.rate) break;
  }
  return chunks;
}

/** Amplitude of a frequency in samples, by correlation with its sine and cosine. */
function amplitudeOf(samples: Float32Array, rate: number, frequency: number): number {
  let [re, im] = [0, 0];
  samples.forEach((value, i) => {
    re += value * Math.cos((2 * Math.PI * frequency * i) / rate);
    im += value * Math.sin((2 * Math.PI * frequency * i) / rate);
  });
  return (2 * Math.hypot(re, im)) / samples.length;
}

/** The processes that this one has started and that run now. */
const children = (): number[] => readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8').trim().split(' ').filter((pid) => pid !== '').map(Number);

describe.skipIf(missing !== null)(`capture through ALSA${missing === null ? '' : ` (${missing})`}`, () => {
  const before = process.env.ALSA_CONFIG_PATH;
  beforeEach(() => { process.env.ALSA_CONFIG_PATH = at('asound.conf'); });
  afterEach(() => {
    if (before === undefined) delete process.env.ALSA_CONFIG_PATH;
    else process.env.ALSA_CONFIG_PATH = before;
  });

  it.each([8000, 16_000, 48_000])('delivers at %d samples a second what the device was given', async (rate) => {
    const chunks = await hear('alsa:mono', 0.5, { rate });
    for (const chunk of chunks.slice(1)) {
      expect([chunk.rate, chunk.samples.length]).toEqual([rate, rate / 10]);
      // A tenth of a second is a whole number of periods.
      expect(amplitudeOf(chunk.samples, rate, left)).toBeCloseTo(level, 2);
      expect(amplitudeOf(chunk.samples, rate, right)).toBeLessThan(0.01);
    }
    expect(chunks.map(({ capturedMs }) => capturedMs)).toEqual(chunks.map(({ capturedMs }) => capturedMs).sort((a, b) => a - b));
  });

  it('mixes two channels to one', async () => {
    for (const { samples, rate } of (await hear('alsa:stereo', 0.5)).slice(1)) {
      expect(amplitudeOf(samples, rate, left)).toBeCloseTo(level / 2, 2);
      expect(amplitudeOf(samples, rate, right)).toBeCloseTo(level / 2, 2);
    }
  });

  it.each([
    ['alsa:nosuch', /^alsa:nosuch cannot be decoded: cannot open audio device nosuch \(/],
    ['alsa:hw:31', /^alsa:hw:31 cannot be decoded: cannot open audio device plughw:31 \(/],
    // A card as it is, without ALSA's conversion.
    ['alsa:six', /^alsa:six cannot be decoded: cannot set channel count to 2 \(/],
  ])('says what is wrong with %s', async (spec, message) => {
    await expect(hear(spec, 1)).rejects.toMatchObject({ code: 'E_MEDIA', message: expect.stringMatching(message) as unknown });
  });

  it('is lost when its process ends, and opened again with back-off', async () => {
    const states: [CameraState, string | undefined][] = [];
    const opened: number[] = [];
    const backoff = { baseMs: 40, capMs: 200 };
    const loop = new InferenceLoop(new PipelineSlot(), systemClock(), {
      input: 'alsa:mono', live: true, medium: 'microphone', random: () => 1, backoff,
      open: (signal) => { opened.push(performance.now()); return openSoundSource(opened.length === 2 ? 'alsa:nosuch' : 'alsa:mono', { signal }); },
    }, {
      onFrame: () => undefined, onIdleFrame: () => undefined, onPipelineError: () => undefined,
      onCamera: (state, error) => { states.push([state, error?.code]); },
    });
    const others = new Set(children());
    loop.start();
    try {
      await expect.poll(() => loop.frames, { timeout: 20_000 }).toBeGreaterThan(2);
      const [capture] = children().filter((pid) => !others.has(pid));
      if (capture === undefined) throw new Error('Expected a process that captures but found none');
      process.kill(capture, 'SIGKILL');
      await expect.poll(() => opened.length, { timeout: 20_000 }).toBe(3);
      const heard = loop.frames;
      await expect.poll(() => loop.frames, { timeout: 20_000 }).toBeGreaterThan(heard + 2);
    } finally {
      await loop.stop();
    }
    // It was heard, was lost, was not there, and was heard again.
    expect(states).toEqual([
      ['opening', undefined], ['running', undefined], ['lost', 'E_MEDIA'], ['opening', undefined], ['lost', 'E_MEDIA'], ['opening', undefined], ['running', undefined], ['none', undefined],
    ]);
    expect((opened[2] ?? 0) - (opened[1] ?? 0)).toBeGreaterThanOrEqual(backoff.baseMs);
    expect(children().filter((pid) => !others.has(pid))).toEqual([]);
  }, 90_000);
});
