import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { openSoundSource } from '../../../runtime/media/index.js';
import type { AudioChunk } from '../../../runtime/frame.js';
import { defaultSoundSettings } from '../../../runtime/kinds/sound/settings.js';
import { SoundPipeline } from '../../../runtime/kinds/sound/pipeline.js';
import { parsePipeline } from '../../../runtime/kinds/registry.js';
import { sound } from '../../../runtime/kinds/sound/kind.js';
import { librosaLogMel } from '../../../runtime/sound/definition.js';
import type { SoundContract, StageContract } from '../../../runtime/stages/contract.js';
import { pipelineDescription } from '../../../runtime/stages/contract.js';
import { openSoundStage, SoundStage } from '../../../runtime/stages/sound-stage.js';
import type { Session } from '../../../runtime/session-types.js';
import type { Tensor } from '../../../runtime/tensor.js';
import { sharedFile } from '../../support/shared.js';
import { ffmpeg } from '../media/ffmpeg-available.js';
import { frameOf } from '../pipeline/fakes.js';

const wave: StageContract & { input: SoundContract } = {
  model: 'models/classifier.onnx', input: { type: 'wave', tensor: 'x', rate: 16_000, samples: 3200, step: 1600, gain: 1 }, outputs: ['y'],
};

/** A model that hears one class as loudly as its window is: its score is the mean square of the samples, times 8. */
function loudness(calls: Record<string, Tensor>[] = []): Session {
  return {
    inputs: [{ name: 'x', type: 'float32', dims: [1, 3200] }], outputs: [{ name: 'y', type: 'float32', dims: [1, 1] }],
    stats: { engine: 'native', threads: 1, loadMs: 0 },
    run: (feeds) => {
      calls.push(Object.fromEntries(Object.entries(feeds).map(([name, tensor]) => [name, { ...tensor, data: tensor.data.slice() }])));
      const samples = feeds['x']?.data as Float32Array;
      const power = samples.reduce((sum, value) => sum + value * value, 0) / samples.length;
      return Promise.resolve({ y: { type: 'float32', dims: [1, 1], data: Float32Array.of(8 * power) } });
    },
    close: () => Promise.resolve(),
  };
}

const settings = { ...defaultSoundSettings, labels: ['siren'], gate: { ...defaultSoundSettings.gate, hold_ms: 0, audit_share: 0 } };
const loud = Float32Array.from({ length: 1600 }, (_, i) => 0.5 * Math.sin(i / 3));
const quiet = Float32Array.from({ length: 1600 }, (_, i) => 1e-4 * Math.sin(i / 3));

function pipelineOf(options: { session?: Session; settings?: typeof settings; now?: () => number; random?: () => number } = {}): SoundPipeline {
  const stage = new SoundStage(options.session ?? loudness(), wave);
  return new SoundPipeline({ name: 'ears', version: '1.0.0', stages: { classifier: stage }, contract: wave, now: () => 0, ...options, settings: options.settings ?? settings });
}

const chunk = (sequence: number, samples: Float32Array, more: Partial<AudioChunk> = {}): AudioChunk => ({ sequence, samples, rate: 16_000, capturedMs: sequence * 100, mediaMs: sequence * 100, ...more });

describe('a pipeline that listens', () => {
  test('stops silence at the gate, hears what lasts, and times every stage of the budget', async () => {
    const calls: Record<string, Tensor>[] = [];
    const pipeline = pipelineOf({ session: loudness(calls) });
    const results = [];
    for (const [i, samples] of [quiet, quiet, loud, loud, loud, quiet, quiet, quiet, quiet, quiet, quiet].entries()) results.push(await pipeline.process(chunk(i, samples)));
    expect(results.map(({ exit }) => exit)).toEqual(['full', 'silence', 'full', 'full', 'full', 'full', 'full', 'full', 'full', 'full', 'silence']);
    expect(results.map(({ findings }) => findings.length)).toEqual([0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0].map((n) => n));
    const event = results[4]?.findings[0];
    expect(event).toMatchObject({ type: 'sound', label: 'siren', onsetMs: 300, durationMs: 200 });
    expect(results[4]?.stages.map(({ stage }) => stage)).toEqual(['chunk', 'buffer', 'levels', 'features', 'infer', 'smooth']);
    const budget = Object.fromEntries(results[4]?.stages.map(({ stage, ms }) => [stage, ms]) ?? []);
    expect(budget['chunk']).toBe(100);
    expect(budget['smooth']).toBeGreaterThanOrEqual(100);
    expect(results[4]?.sound?.levelDb).toBeCloseTo(-9, 0);
  });

  test('drops a window that would be late, counts it, and goes on', async () => {
    let nowMs = 100;
    const pipeline = pipelineOf({ now: () => nowMs });
    const live = { mediaMs: undefined } as unknown as Partial<AudioChunk>;
    expect((await pipeline.process(chunk(0, loud, live))).exit).toBe('full');
    nowMs = 200 + 80; // the chunk came 80 ms late, and smoothing takes 200
    const late = await pipeline.process(chunk(1, loud, live));
    expect([late.exit, late.sound?.late]).toEqual(['late', 1]);
    nowMs = 300;
    expect((await pipeline.process(chunk(2, loud, live))).exit).toBe('full');
  });

  test('drops a window whose run ended late, and does not stop those that follow for it', async () => {
    let nowMs = 0;
    let runMs = 1;
    const heard = loudness();
    const session: Session = { ...heard, run: async (...feeds) => {
      nowMs += runMs;
      return heard.run(...feeds);
    } };
    const pipeline = pipelineOf({ session, now: () => nowMs });
    const exits: string[] = [];
    for (let i = 0; i < 14; i++) {
      nowMs = 100 * (i + 1);
      runMs = i === 6 || i === 10 ? 80 : 1;
      const { exit, sound, findings } = await pipeline.process(chunk(i, loud, { mediaMs: undefined } as unknown as Partial<AudioChunk>));
      exits.push(exit);
      // What had been decided before stays.
      if (exit === 'late') expect([findings.length, sound?.late]).toEqual([1, i === 6 ? 1 : 2]);
    }
    expect(exits.map((exit, i) => (exit === 'late' ? i : -1)).filter((i) => i >= 0)).toEqual([6, 10]);
  });

  test('stops windows before the model runs where runs are always too slow, and tries again', async () => {
    let nowMs = 0;
    const calls: Record<string, Tensor>[] = [];
    const heard = loudness(calls);
    const session: Session = { ...heard, run: async (...feeds) => {
      nowMs += 80;
      return heard.run(...feeds);
    } };
    const pipeline = pipelineOf({ session, now: () => nowMs });
    for (let i = 0; i < 10; i++) {
      nowMs = 100 * (i + 1);
      expect((await pipeline.process(chunk(i, loud, { mediaMs: undefined } as unknown as Partial<AudioChunk>))).exit).toBe('late');
    }
    expect(calls).toHaveLength(5);
  });

  test('forgets what was before a gap', async () => {
    const pipeline = pipelineOf();
    for (let i = 0; i < 4; i++) await pipeline.process(chunk(i, loud));
    expect((await pipeline.process(chunk(4, loud))).findings.length).toBe(1);
    expect((await pipeline.process(chunk(9, loud))).findings).toEqual([]);
  });

  test('checks a share of the silence, and says what the gate missed', async () => {
    const deaf = { ...settings, gate: { ...settings.gate, margin_db: 60, least_db: 0, audit_share: 0.5, miss_limit: 1 } };
    const pipeline = pipelineOf({ settings: deaf, random: () => 0.4 });
    await pipeline.process(chunk(0, quiet));
    const results = [await pipeline.process(chunk(1, loud)), await pipeline.process(chunk(2, loud))];
    expect(results.map(({ exit, audit, findings }) => [exit, audit, findings.length])).toEqual([['silence', true, 0], ['silence', true, 0]]);
    expect(pipeline.gates).toMatchObject({ strictness: 'set', audits: 2, misses: 2, missRate: { audits: 2, misses: 2, rate: 1, upper: 1 } });
  });

  test('becomes stricter when the gate misses too much, and in the end hears everything', async () => {
    // The sound has -9 dB, and the gate opens from 0 dB on: tightened once, from -6 dB on, and twice, from -12 dB on.
    const deaf = { ...settings, gate: { ...settings.gate, margin_db: 60, least_db: 0, forced_pass_ms: 3_600_000, audit_share: 1, miss_limit: 0.3 } };
    const pipeline = pipelineOf({ settings: deaf, random: () => 0 });
    const seen: string[] = [];
    for (let i = 0; i < 12; i++) {
      const { exit } = await pipeline.process(chunk(i, i < 2 ? quiet : loud));
      const strictness = pipeline.gates?.strictness ?? 'none';
      if (seen.at(-1) !== `${strictness} ${exit}`) seen.push(`${strictness} ${exit}`);
    }
    expect(seen).toEqual(['set full', 'set silence', 'tight silence', 'tightest silence', 'tightest full']);
    // The count begins anew with each strictness: it was that of another gate.
    expect(pipeline.gates?.missRate).toMatchObject({ audits: 0, upper: 1 });
  });

  test('switches its gate off when it is deaf at every strictness', async () => {
    const deaf = { ...settings, gate: { ...settings.gate, margin_db: 60, least_db: 0, forced_pass_ms: 3_600_000, audit_share: 1, miss_limit: 0.3 } };
    // A model that hears something in every silence.
    const session: Session = { ...loudness(), run: () => Promise.resolve({ y: { type: 'float32', dims: [1, 1], data: Float32Array.of(1) } }) };
    const pipeline = pipelineOf({ session, settings: { ...deaf, on: 0.9 }, random: () => 0 });
    const exits = [];
    const strictnesses = new Set<string | undefined>();
    for (let i = 0; i < 60; i++) {
      exits.push((await pipeline.process(chunk(i, quiet))).exit);
      strictnesses.add(pipeline.gates?.strictness);
    }
    expect([...strictnesses]).toEqual(['set', 'tight', 'tightest', 'off']);
    expect(exits.at(-1)).toBe('full');
  });

  test('samples that are not numbers are silence, and told', async () => {
    const pipeline = pipelineOf();
    const broken = loud.slice();
    broken[5] = NaN;
    const { sound: report } = await pipeline.process(chunk(0, broken));
    expect(report?.problems).toEqual(['E_SOUND_INVALID']);
    expect(Number.isFinite(report?.levelDb)).toBe(true);
  });

  test('refuses pictures and other rates with a code', async () => {
    const pipeline = pipelineOf();
    await expect(pipeline.process(frameOf([1, 2, 3]))).rejects.toMatchObject({ code: 'E_INPUT' });
    await expect(pipeline.process({ ...chunk(0, loud), rate: 8000 })).rejects.toMatchObject({ code: 'E_INPUT', message: expect.stringMatching(/16000.*8000/) as unknown });
  });
});

describe('stages that listen', () => {
  test('carry states from run to run, and a golden vector leaves none behind', async () => {
    const seen: number[] = [];
    const session: Session = {
      ...loudness(),
      run: (feeds) => {
        seen.push(Number(feeds['state']?.data[0]));
        return Promise.resolve({ y: { type: 'float32', dims: [1, 1], data: Float32Array.of(0) }, stateN: { type: 'float32', dims: [1, 2], data: Float32Array.of(seen.length, 0) } });
      },
    };
    const stage = new SoundStage(session, { ...wave, states: [{ input: 'state', output: 'stateN', dims: [1, 2] }] });
    await stage.run();
    await stage.run();
    stage.loadPattern();
    await stage.run();
    await stage.run();
    stage.reset();
    await stage.run();
    expect(seen).toEqual([0, 1, 0, 2, 0]);
  });

  test('golden vectors may be a part of a larger buffer', async () => {
    const calls: Record<string, Tensor>[] = [];
    const stage = new SoundStage(loudness(calls), wave);
    const pool = Buffer.alloc(16_384);
    pool.writeFloatLE(0.25, 64);
    stage.load(pool.subarray(64, 64 + 4 * 3200), 'golden/a.bin');
    await stage.run();
    expect([calls[0]?.['x']?.data.length, calls[0]?.['x']?.data[0]]).toEqual([3200, 0.25]);
  });

  test('features come in the layout of the model, and begin with silence', async () => {
    const definition = librosaLogMel({ rate: 16_000, frame: 400, hop: 160, points: 512, bands: 8 });
    const of = async (layout: 'time-bands' | 'bands-time'): Promise<Float32Array> => {
      const calls: Record<string, Tensor>[] = [];
      const stage = new SoundStage(loudness(calls), { input: { type: 'features', tensor: 'x', frames: 3, step: 1600, layout, definition } });
      stage.push(loud);
      await stage.run();
      return calls[0]?.['x']?.data as Float32Array;
    };
    const [rows, columns] = [await of('time-bands'), await of('bands-time')];
    expect(rows.length).toBe(24);
    expect([...columns]).toEqual(Array.from({ length: 24 }, (_, i) => rows[(i % 3) * 8 + Math.floor(i / 3)]));
  });
});

describe('the kind sound', () => {
  const info = { inputs: [{ name: 'x', type: 'float32' as const, dims: [1, 15_600] }], outputs: [{ name: 'y', type: 'float32' as const, dims: [1, 521] }] };

  test('describes a model of samples, with its states', () => {
    const stateful = { inputs: [...info.inputs, { name: 'state', type: 'float32' as const, dims: [2, 1, 128] }, { name: 'sr', type: 'int64' as const, dims: [] }], outputs: [...info.outputs, { name: 'stateN', type: 'float32' as const, dims: [2, 1, 128] }] };
    expect(sound.describe({ classifier: stateful })).toMatchObject({
      stages: { classifier: { input: { type: 'wave', samples: 15_600, step: 1600 }, outputs: ['y'], states: [{ input: 'state', output: 'stateN', dims: [2, 1, 128] }], constants: [{ input: 'sr', values: [16_000] }] } },
    });
  });

  test('refuses a budget that smoothing alone exceeds', () => {
    const stated = pipelineDescription.parse({ kind: 'sound', ...sound.describe({ classifier: info }) });
    expect(() => parsePipeline({ ...stated, settings: { ...stated.settings, smoothing_windows: 3 } })).toThrow(/3 windows every 100 ms take 300 ms.*deadline of 250 ms/);
  });
});

const yamnet = sharedFile('models/yamnet_w8.onnx');
const silero = sharedFile('models/silero_vad_v6.onnx');

describe.skipIf(ffmpeg === null || !existsSync(yamnet))('published models', () => {
  test('YAMNet hears a dog in a stream', async () => {
    const contract: StageContract & { input: SoundContract } = { model: 'm', outputs: ['out0_Identity'], input: { type: 'wave', tensor: 'input', rate: 16_000, samples: 15_600, step: 1600, gain: 1 } };
    const stage = await openSoundStage('classifier', readFileSync(yamnet), contract);
    const dog = { ...defaultSoundSettings, classes: [{ label: 'dog', members: [69, 70] }, { label: 'rain', members: [283, 284] }], on: 0.3, off: 0.2 };
    const pipeline = new SoundPipeline({ name: 'y', version: '1.0.0', stages: { classifier: stage }, contract, settings: dog });
    const heard = new Set<string>();
    for await (const piece of openSoundSource(sharedFile('samples/esc10/001_Dog_bark/1-100032-A.ogg'))) for (const { label } of (await pipeline.process(piece)).findings) heard.add(label);
    await pipeline.close();
    expect([...heard]).toEqual(['dog']);
  });

  test('Silero VAD with its state carried equals onnxruntime, window by window', async () => {
    const contract: StageContract & { input: SoundContract } = {
      model: 'm', outputs: ['output'], input: { type: 'wave', tensor: 'input', rate: 16_000, samples: 576, step: 512, gain: 1 },
      states: [{ input: 'state', output: 'stateN', dims: [2, 1, 128] }], constants: [{ input: 'sr', type: 'int64', dims: [], values: [16_000] }],
    };
    const [ours, theirs] = [await openSoundStage('classifier', readFileSync(silero), contract), await openSoundStage('classifier', readFileSync(silero), contract, { engine: 'onnxruntime' })];
    let worst = 0;
    for await (const { samples } of openSoundSource(sharedFile('samples/esc10/004_Baby_cry/1-187207-A.ogg'), { step: 512 })) {
      for (const stage of [ours, theirs]) stage.push(samples);
      const [a, b] = [(await ours.run())['output']?.data[0], (await theirs.run())['output']?.data[0]];
      worst = Math.max(worst, Math.abs(Number(a) - Number(b)));
    }
    expect(worst).toBeLessThan(1e-3);
    await Promise.all([ours, theirs].map((stage) => stage.session.close()));
  });
});
