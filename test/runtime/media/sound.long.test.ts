import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { AudioChunk, SoundSource } from '../../../runtime/frame.js';
import { CaptureClock } from '../../../runtime/media/capture-clock.js';
import { isSoundInput, openSoundSource } from '../../../runtime/media/index.js';
import { ffmpeg } from './ffmpeg-available.js';

const folder = mkdtempSync(join(tmpdir(), 'sterna-sound-'));
const at = (name: string): string => join(folder, name);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function collect(source: SoundSource): Promise<AudioChunk[]> {
  const chunks: AudioChunk[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return chunks;
}

/** One second of a tone of 440 Hz at a quarter of full scale, in the form that the name and the options ask for. */
function makeSound(path: string, ...options: string[]): void {
  const args = ['-y', '-f', 'lavfi', '-i', 'sine=frequency=440:duration=1:sample_rate=48000', '-af', 'volume=2', ...options, path];
  const { status, stderr } = spawnSync(ffmpeg ?? 'ffmpeg', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
}

/** Frequency of a tone, by the zeros that it crosses upwards. */
function frequencyOf(chunks: readonly AudioChunk[]): number {
  const samples = chunks.slice(0, Math.floor(chunks.length * 0.8)).flatMap((chunk) => [...chunk.samples]);
  const rate = chunks[0]?.rate ?? 0;
  return (samples.filter((value, i) => value >= 0 && (samples[i - 1] ?? 0) < 0).length * rate) / samples.length;
}

const rmsOf = (samples: Float32Array): number => Math.sqrt(samples.reduce((sum, value) => sum + value * value, 0) / samples.length);

/** A WAV file of 16 bits whose header may lie. */
function wave(samples: Int16Array, { rate = 16_000, channels = 1 }: { rate?: number; channels?: number } = {}): Buffer {
  const header = Buffer.alloc(44);
  header.write('RIFF', 0, 'latin1');
  header.writeUInt32LE(36 + samples.byteLength, 4);
  header.write('WAVEfmt ', 8, 'latin1');
  header.writeUInt32LE(16, 16);
  header.writeUInt16LE(1, 20);
  header.writeUInt16LE(channels, 22);
  header.writeUInt32LE(rate, 24);
  header.writeUInt32LE(rate * channels * 2, 28);
  header.writeUInt16LE(channels * 2, 32);
  header.writeUInt16LE(16, 34);
  header.write('data', 36, 'latin1');
  header.writeUInt32LE(samples.byteLength, 40);
  return Buffer.concat([header, Buffer.from(samples.buffer)]);
}

describe.skipIf(ffmpeg === null)('sound of files', () => {
  beforeAll(() => {
    makeSound(at('tone.wav'));
    makeSound(at('tone.flac'));
    for (const name of ['tone.mp3', 'tone.ogg', 'tone.m4a']) makeSound(at(name));
    makeSound(at('narrow.wav'), '-ar', '8000');
    makeSound(at('wide.wav'), '-ar', '96000', '-c:a', 'pcm_f32le');
    makeSound(at('six.wav'), '-ac', '6');
    const film = ['-y', '-f', 'lavfi', '-i', 'testsrc=size=64x48:rate=10:duration=1', '-i', at('tone.wav'), '-c:a', 'pcm_s16le', at('film.mkv')];
    expect(spawnSync(ffmpeg ?? '', film).status).toBe(0);
    expect(spawnSync(ffmpeg ?? '', [...film.slice(0, -3), '-c:a', 'aac', at('film.mp4')]).status).toBe(0);
    expect(spawnSync(ffmpeg ?? '', ['-y', '-f', 'lavfi', '-i', 'testsrc=size=64x48:rate=10:duration=1', at('mute.mkv')]).status).toBe(0);
    writeFileSync(at('lie.wav'), wave(new Int16Array(1600), { rate: 0 }));
    writeFileSync(at('text.wav'), 'not a sound');
  });

  it.each(['tone.wav', 'tone.flac', 'tone.mp3', 'tone.ogg', 'tone.m4a', 'narrow.wav', 'wide.wav', 'six.wav', 'film.mkv', 'film.mp4'])('%s becomes one channel of the wanted rate', async (name) => {
    const chunks = await collect(openSoundSource(at(name)));
    expect(chunks.map(({ samples, rate }) => [samples.length, rate])).toEqual(new Array(chunks.length).fill([1600, 16_000]));
    expect(Math.abs(chunks.length - 10)).toBeLessThanOrEqual(1);
    expect(chunks.map(({ sequence, mediaMs }) => [sequence, mediaMs])).toEqual(chunks.map((_, i) => [i, i * 100]));
    expect(frequencyOf(chunks)).toBeCloseTo(440, -1);
    expect(rmsOf(chunks[4]?.samples ?? new Float32Array(1))).toBeGreaterThan(0.05);
  });

  it('delivers the rate and step that the model wants, and fills up the last chunk', async () => {
    const chunks = await collect(openSoundSource(at('tone.wav'), { rate: 22_050, step: 5000 }));
    expect(chunks.map(({ samples }) => samples.length)).toEqual([5000, 5000, 5000, 5000, 5000]);
    expect(frequencyOf(chunks)).toBeCloseTo(440, -1);
    expect([...(chunks[4]?.samples.subarray(4000) ?? [])].every((value) => value === 0)).toBe(true);
  });

  it.each([['mute.mkv', /mute\.mkv cannot be decoded/], ['lie.wav', /lie\.wav cannot be decoded/], ['text.wav', /text\.wav cannot be decoded/]])('%s is refused with a code', async (name, message) => {
    await expect(collect(openSoundSource(at(name)))).rejects.toMatchObject({ code: 'E_MEDIA', message: expect.stringMatching(message) as unknown });
  });

  it.each([[2, 1], [6, 1], [2, 0.5]])('has the mean of %d channels, also at full scale (%d)', async (channels, level) => {
    const tone = (i: number): number => Math.round(32_767 * level * Math.sin((2 * Math.PI * 440 * i) / 16_000));
    writeFileSync(at('full.wav'), wave(Int16Array.from({ length: 8000 * channels }, (_, i) => tone(Math.floor(i / channels))), { channels }));
    const samples = (await collect(openSoundSource(at('full.wav')))).flatMap((chunk) => [...chunk.samples]);
    expect(Math.max(...samples.map(Math.abs))).toBeCloseTo(level, 3);
    expect(Math.max(...samples.map((value, i) => Math.abs(value - tone(i) / 32_768)))).toBeLessThan(1e-3);
  });

  it('plays a file at its own pace when asked to', async () => {
    const started = performance.now();
    const chunks = await collect(openSoundSource(at('tone.wav'), { realtime: true }));
    expect(performance.now() - started).toBeGreaterThan(900);
    expect(chunks.every(({ capturedMs }, i) => Math.abs(capturedMs - (chunks[0]?.capturedMs ?? 0) - (chunks[i]?.sequence ?? 0) * 100) < 1e-6)).toBe(true);
  });

  it('ends without an error when it is aborted', async () => {
    const stop = new AbortController();
    const chunks: AudioChunk[] = [];
    for await (const chunk of openSoundSource(at('tone.wav'), { loop: true, signal: stop.signal })) {
      chunks.push(chunk);
      if (chunks.length === 25) stop.abort();
    }
    expect(chunks.length).toBe(25);
  });
});

describe('inputs of sound', () => {
  it.each([['nowhere.wav', /cannot be opened/], ['http://host/a.wav', /Expected a file of sound/], ['pcm:s16le:99:1', /pcm:FORMAT:RATE:CHANNELS/], ['pcm:mp3:16000:1', /with a format of/]])('refuses %s', (spec, message) => {
    expect(() => openSoundSource(spec)).toThrow(message);
  });

  it.each([['alsa:default', true], ['pulse:mic', true], ['sound:clip.mp4', true], ['clip.MP3', true], ['clip.mp4', false], ['rtsp://host/a', false]])('%s is sound: %s', (spec, expected) => {
    expect(isSoundInput(spec)).toBe(expected);
  });

  it('refuses steps that cannot be', () => {
    expect(() => openSoundSource('alsa:default', { step: 0 })).toThrow(/option "step"/);
  });
});

describe('live sound', () => {
  const environment = { ...process.env };
  afterEach(() => { process.env.STERNA_FFMPEG = environment.STERNA_FFMPEG; if (environment.STERNA_FFMPEG === undefined) delete process.env.STERNA_FFMPEG; });

  /** A stand-in for ffmpeg with a microphone: the script's body. */
  function microphone(body: string): void {
    writeFileSync(at('ffmpeg'), `#!/bin/sh\n${body}\n`);
    chmodSync(at('ffmpeg'), 0o755);
    process.env.STERNA_FFMPEG = at('ffmpeg');
  }

  it('says which device is not there', async () => {
    microphone('echo "cannot open audio device default (No such file or directory)" >&2; exit 1');
    await expect(collect(openSoundSource('alsa:default'))).rejects.toMatchObject({ code: 'E_MEDIA', message: expect.stringMatching(/alsa:default.*cannot open audio device/) as unknown });
  });

  it('gives up a stream that has stalled', async () => {
    microphone('head -c 6400 /dev/zero; exec sleep 60');
    const chunks: AudioChunk[] = [];
    await expect((async () => { for await (const chunk of openSoundSource('alsa:default', { stallMs: 300 })) chunks.push(chunk); })())
      .rejects.toMatchObject({ code: 'E_MEDIA', message: expect.stringMatching(/no sound for 300 ms/) as unknown });
    expect(chunks.length).toBe(1);
  });

  it('says that a device has vanished, after what it delivered, and hears it again when it is back', async () => {
    const chunks: AudioChunk[] = [];
    const hear = async (): Promise<void> => { for await (const chunk of openSoundSource('alsa:default', { stallMs: 20_000 })) chunks.push(chunk); };
    microphone('head -c 12800 /dev/zero; echo "alsa: device disconnected (No such device)" >&2; exit 1');
    await expect(hear()).rejects.toMatchObject({ code: 'E_MEDIA', message: expect.stringMatching(/alsa:default.*No such device/) as unknown });
    expect(chunks.length).toBe(2);
    microphone('head -c 6400 /dev/zero; exit 0');
    await hear().catch(() => undefined);
    expect(chunks.map(({ sequence }) => sequence)).toEqual([0, 1, 0]);
  });

  it('takes the end of a device for a loss, also where ffmpeg ends as at the end of a file', async () => {
    microphone('head -c 6400 /dev/zero; echo "alsa:default: Input/output error" >&2; exit 0');
    await expect(collect(openSoundSource('alsa:default'))).rejects.toMatchObject({ code: 'E_MEDIA', message: expect.stringMatching(/alsa:default has ended/) as unknown });
    // What comes over standard input has an end.
    expect((await collect(openSoundSource('pcm:s16le:16000:1'))).length).toBe(1);
  });

  it.each([['alsa:hw:1,0', 'plughw:1,0'], ['alsa:hw', 'plughw'], ['alsa:', 'default'], ['alsa:hwmic', 'hwmic'], ['alsa:dsnoop:0', 'dsnoop:0']])('asks ALSA of %s for %s, which converts', async (spec, name) => {
    microphone('echo "$@" >&2; exit 1');
    await expect(collect(openSoundSource(spec))).rejects.toThrow(`-f alsa -i ${name} -map`);
  });

  it('says why a device cannot be opened rather than that it cannot', async () => {
    microphone('printf "ALSA lib pcm.c:1:(snd_pcm_open) busy\\n[alsa @ 0x55d1c0ffee] cannot open audio device default (Device or resource busy)\\ndefault: Input/output error\\n" >&2; exit 1');
    await expect(collect(openSoundSource('alsa:default'))).rejects.toThrow(/^alsa:default cannot be decoded: cannot open audio device default \(Device or resource busy\)$/);
  });

  it('says that the ffmpeg at hand has no such input', async () => {
    microphone('echo "Unknown input format: \'pulse\'" >&2; exit 1');
    await expect(collect(openSoundSource('pulse:mic'))).rejects.toMatchObject({ code: 'E_MEDIA', message: expect.stringMatching(/^pulse:mic cannot be decoded: this ffmpeg was built without the input pulse\. Install one that has it .* or set STERNA_FFMPEG/) as unknown });
  });

  it('leaves a gap where the buffer of the card has run over, and begins to count the time anew', async () => {
    microphone('head -c 12800 /dev/zero; sleep 0.4; echo "[alsa @ 0x55d1c0ffee] ALSA buffer xrun." >&2; sleep 0.4; head -c 12800 /dev/zero; exec sleep 60');
    const source = openSoundSource('alsa:default', { stallMs: 20_000 });
    const chunks: AudioChunk[] = [];
    for await (const chunk of source) if (chunks.push(chunk) === 4) break;
    expect(chunks.map(({ sequence }) => sequence)).toEqual([0, 1, 3, 4]);
    expect(source.dropped).toBe(1);
    // 0.8 s were lost or late; by the number of samples it would be 0.1 s.
    expect((chunks[2]?.capturedMs ?? 0) - (chunks[1]?.capturedMs ?? 0)).toBeGreaterThan(500);
  });

  it('drops the oldest chunks of a slow consumer, and counts them', async () => {
    microphone('head -c 64000 /dev/zero; exec sleep 1');
    const source = openSoundSource('alsa:default', { stallMs: 20_000 });
    const sequences: number[] = [];
    for await (const { sequence } of source) {
      sequences.push(sequence);
      if (sequences.length === 1) await new Promise((resolve) => { setTimeout(resolve, 700); });
      if (sequence === 9) break;
    }
    expect(sequences.length + source.dropped).toBe(10);
    expect(source.dropped).toBeGreaterThan(0);
  });
});

describe('the clock of a capture device', () => {
  /** Chunks of 100 ms of a device that is `ppm` too fast, each up to 30 ms late. */
  function observe(ppm: number, seconds: number): { clock: CaptureClock; errors: number[] } {
    const clock = new CaptureClock(16_000);
    let late = 1;
    const errors: number[] = [];
    for (let i = 1; i <= seconds * 10; i++) {
      late = (Math.imul(late, 1664525) + 1013904223) >>> 0;
      const trueMs = 5000 + (i * 100) / (1 + ppm / 1e6);
      errors.push(clock.arrived(1600, trueMs + 30 * (late / 2 ** 32)) - (trueMs - 100));
    }
    return { clock, errors };
  }

  it.each([0, 200, -1000, 20_000, -81_250])('finds a drift of %d ppm in the jitter', (ppm) => {
    const { clock, errors } = observe(ppm, 120);
    expect(Math.abs((clock.estimate?.driftPpm ?? NaN) - ppm)).toBeLessThan(40 + Math.abs(ppm) * 0.05);
    expect(clock.estimate?.jitterMs).toBeGreaterThan(5);
    // Capture times are those of the device and not of the arrival.
    if (Math.abs(ppm) <= 1000) expect(Math.max(...errors.slice(50).map(Math.abs))).toBeLessThan(10);
  });

  it('says nothing before it can know', () => {
    expect(observe(100, 5).clock.estimate).toBeNull();
  });
});
