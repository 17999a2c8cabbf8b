/** Published models that listen: whether a stream gives what whole recordings give, and what onnxruntime gives. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { SoundContract, StageContract } from '../../../runtime/stages/contract.js';
import { openSoundStage, type SoundStage } from '../../../runtime/stages/sound-stage.js';
import { openSoundSource } from '../../../runtime/media/index.js';
import { listClips, samplesOf } from '../../lab/clips.js';
import { rate } from '../../sound/synthesize.js';
import { absentOf, type Absent, type Bar } from '../bars.js';

type Listener = StageContract & { input: SoundContract };

const yamnet: Listener = { model: 'm', outputs: ['out0_Identity'], input: { type: 'wave', tensor: 'input', rate, samples: 15_600, step: 7680, gain: 1 } };
const silero: Listener = {
  model: 'm', outputs: ['output'], input: { type: 'wave', tensor: 'input', rate, samples: 576, step: 512, gain: 1 },
  states: [{ input: 'state', output: 'stateN', dims: [2, 1, 128] }], constants: [{ input: 'sr', type: 'int64', dims: [], values: [rate] }],
};
/** Recordings of each class. */
const clipsAClass = 2;
/** Score from which Silero calls a frame speech. */
const speech = 0.5;

export async function publishedBars({ models, sounds }: { models: string; sounds: string }): Promise<Bar[] | Absent> {
  const [yamnetPath, sileroPath] = [join(models, 'yamnet_w8.onnx'), join(models, 'silero_vad_v6.onnx')];
  const absent = absentOf([yamnetPath, sileroPath]);
  if (absent !== undefined) return absent;
  const { files } = await listClips(sounds);
  const counts = new Map<number, number>();
  const clips = files.filter(({ label }) => {
    counts.set(label, (counts.get(label) ?? 0) + 1);
    return (counts.get(label) ?? 0) <= clipsAClass;
  }).map(({ name }) => join(sounds, name));
  return [await streamedBar(await readFile(yamnetPath), clips), await segmentsBar(await readFile(sileroPath), clips)];
}

async function run(stage: SoundStage, output: string): Promise<ArrayLike<number>> {
  return Array.from((await stage.run())[output]?.data ?? [], Number);
}

/** The class with the largest mean score: from a stream, chunk by chunk, and from windows cut out of the whole recording. */
async function streamedBar(model: Uint8Array, clips: readonly string[]): Promise<Bar> {
  const [stream, whole] = [await openSoundStage('classifier', model, yamnet, { threads: 1 }), await openSoundStage('classifier', model, yamnet, { threads: 1 })];
  const [output = ''] = yamnet.outputs;
  let equal = 0;
  for (const clip of clips) {
    stream.reset();
    const heard: ArrayLike<number>[] = [];
    for await (const { samples } of openSoundSource(clip, { step: yamnet.input.step })) {
      stream.push(samples);
      heard.push(await run(stream, output));
    }
    const samples = await samplesOf(clip, rate);
    const cut: ArrayLike<number>[] = [];
    for (let end = yamnet.input.step; end <= heard.length * yamnet.input.step; end += yamnet.input.step) {
      const window = new Float32Array(15_600);
      const part = samples.subarray(Math.max(0, end - window.length), end);
      window.set(part, Math.max(0, window.length - end));
      whole.push(window);
      cut.push(await run(whole, output));
    }
    if (bestOf(heard) === bestOf(cut)) equal++;
  }
  await Promise.all([stream, whole].map(({ session }) => session.close()));
  const value = (100 * equal) / clips.length;
  return { id: 'sound.yamnet_streamed', what: `YAMNet streamed and over whole recordings: same class (${clips.length} recordings)`, value, unit: '%', bar: '>= 100', met: value >= 100 };
}

function bestOf(windows: readonly ArrayLike<number>[]): number {
  const sums = Float64Array.from({ length: windows[0]?.length ?? 0 }, (_, c) => windows.reduce((sum, scores) => sum + (scores[c] ?? 0), 0));
  return sums.indexOf(Math.max(...sums));
}

/** Frames between where speech begins or ends here and with onnxruntime, the most of all recordings; another number of segments is as far as it can be. */
async function segmentsBar(model: Uint8Array, clips: readonly string[]): Promise<Bar> {
  const stages = [await openSoundStage('classifier', model, silero, { threads: 1 }), await openSoundStage('classifier', model, silero, { threads: 1, engine: 'onnxruntime' })] as const;
  let [worst, segments] = [0, 0];
  for (const clip of clips) {
    const scores: number[][] = [[], []];
    for (const stage of stages) stage.reset();
    for await (const { samples } of openSoundSource(clip, { step: silero.input.step })) {
      for (const [i, stage] of stages.entries()) {
        stage.push(samples);
        scores[i]?.push((await run(stage, 'output'))[0] ?? 0);
      }
    }
    const [ours, theirs] = scores.map(edgesOf) as [number[], number[]];
    segments += theirs.length;
    worst = ours.length === theirs.length ? Math.max(worst, ...ours.map((frame, i) => Math.abs(frame - (theirs[i] ?? 0)))) : Math.max(worst, scores[0]?.length ?? 0);
  }
  await Promise.all(stages.map(({ session }) => session.close()));
  return { id: 'sound.silero_segments', what: `frames between the edges of speech here and with onnxruntime, worst (${segments} edges in ${clips.length} recordings)`, value: worst, unit: 'frames', bar: '<= 1', met: worst <= 1 };
}

/** Frames at which speech begins or ends. */
const edgesOf = (scores: readonly number[]): number[] => scores.flatMap((score, i) => ((score >= speech) === ((scores[i - 1] ?? 0) >= speech) ? [] : [i]));
