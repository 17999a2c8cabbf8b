import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { sharedFile } from '../../support/shared.js';
import { everyNth, type AccuracyTask, type Feeds } from './task.js';

const samplesPerPatch = 15600;
/** Half a patch, as YAMNet is run over recordings. */
const hop = samplesPerPatch / 2;

/** AudioSet classes (rows of the class map) that mean each of ESC-10's. */
const meanings: Readonly<Record<string, readonly number[]>> = {
  Dog_bark: [69, 70], Rain: [283, 284, 285], Sea_waves: [286, 288, 289], Baby_cry: [20], Clock_tick: [400, 401, 402],
  Person_sneeze: [44], Helicopter: [333], Chainsaw: [341], Rooster: [94, 95], Fire_crackling: [292, 293],
};

/** 16-bit mono WAV as float. */
function readWave(path: string): Float32Array {
  const bytes = readFileSync(path);
  let at = 12;
  while (bytes.toString('latin1', at, at + 4) !== 'data') at += 8 + bytes.readUInt32LE(at + 4);
  const count = bytes.readUInt32LE(at + 4) / 2;
  return Float32Array.from({ length: count }, (_, i) => bytes.readInt16LE(at + 8 + 2 * i) / 32768);
}

function patches(wave: Float32Array): Feeds[] {
  const starts = Array.from({ length: Math.floor((wave.length - samplesPerPatch) / hop) + 1 }, (_, i) => i * hop);
  return starts.map((start) => ({ input: { type: 'float32', dims: [1, samplesPerPatch], data: wave.slice(start, start + samplesPerPatch) } }));
}

/** YAMNet without training on ESC-10: the clip is of the class whose AudioSet classes have the largest mean score. */
export function audioTask(): AccuracyTask {
  const folder = sharedFile('samples/audio');
  const clips = readdirSync(folder).filter((name) => name.endsWith('.wav')).sort().map((name) => {
    const [label = ''] = name.slice(4).split('__');
    return { label, feeds: patches(readWave(join(folder, name))) };
  });
  return {
    name: 'YAMNet on ESC-10',
    metric: 'accuracy',
    model: readFileSync(sharedFile('models/yamnet_w8.onnx')),
    // Silence, with which ESC-50 fills up its clips, teaches nothing.
    calibration: clips.flatMap(({ feeds }) => everyNth(feeds, 3)).filter(({ input }) => input?.data instanceof Float32Array && input.data.some((x) => x !== 0)).slice(0, 200),
    async score(session) {
      let right = 0;
      for (const { label, feeds } of clips) {
        const sums = new Float64Array(521);
        for (const feed of feeds) (await session.run(feed))['out0_Identity']?.data.forEach((score, c) => (sums[c] = (sums[c] ?? 0) + Number(score)));
        const best = (classes: readonly number[]): number => Math.max(...classes.map((c) => sums[c] ?? 0));
        const guess = Object.entries(meanings).reduce((a, b) => (best(b[1]) > best(a[1]) ? b : a))[0];
        if (guess === label) right++;
      }
      return right / clips.length;
    },
  };
}
