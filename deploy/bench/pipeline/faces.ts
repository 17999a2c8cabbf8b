/**
 * The face pipeline before a door at 25 frames a second, with faces in 20 % of the frames: its CPU time with and without gates, and against what a Node
 * developer writes today; and whether the gates miss a visit or confuse two people. Both pipelines see the same frames in turns, a few seconds at a time;
 * decoding is on no side, since frames are decoded before they are shown. The developer's code sees them in a showing of its own, because CPU time is that
 * of the whole process. The footage is shown several times, and of each of its parts the least time counts: neighbours on the machine only ever add.
 */
import type { Frame } from '../../../runtime/frame.js';
import { openSource } from '../../../runtime/media/index.js';
import type { ModelPackage } from '../../../runtime/package/package.js';
import { createPipeline, detectionsOf, type Gallery, type Pipeline } from '../../../runtime/pipeline/index.js';
import type { ExitKind } from '../../../runtime/stages/types.js';
import type { Bar } from '../bars.js';
import { cpuMsOf } from './cpu-time.js';
import { NodeDeveloper } from './node-developer.js';

export interface FaceBenchOptions {
  modelPackage: ModelPackage;
  /** With the people who come. */
  gallery: Gallery;
  /** Footage of a fixed camera, and who is in it when: seconds of it. */
  video: string;
  visits: readonly { name: string; fromS: number; toS: number }[];
  /** The float32 models of the contender; undefined: without it. */
  float?: { detector: Uint8Array; embedder: Uint8Array } | undefined;
  /** Where compiled programs are kept, as on a device. */
  cacheFolder: string;
  /** How often the footage is shown. Default 3. */
  rounds?: number;
  signal?: AbortSignal;
}

/** Frames that are decoded, then shown to everybody. */
const framesATurn = 50;
/** The contender sees every so many frames: what it does takes the same time with every one. */
const contenderEvery = 5;
/** A visitor may come in and leave so long before and after, seconds: he is still in the picture. */
const marginS = 1;
/** Between two showings of the footage. */
const roundGapMs = 40;

/** The least CPU time of each part of the footage, over all rounds, milliseconds. */
class Least {
  readonly #ms: number[] = [];
  #frames = 0;

  add(part: number, frames: number, ms: number): void {
    if (this.#ms[part] === undefined) this.#frames += frames;
    this.#ms[part] = Math.min(this.#ms[part] ?? Infinity, ms);
  }

  /** Of a frame, in the mean. */
  get meanMs(): number {
    return this.#ms.reduce((sum, ms) => sum + ms, 0) / this.#frames;
  }
}

interface Measured {
  gated: Least;
  whole: Least;
  contender: Least | null;
  /** Of the pipeline with gates. */
  exits: Partial<Record<ExitKind, number>>;
  seen: { second: number; name: string | null }[];
}

/** Rows: CPU time a frame with gates against without, and against the contender's; visits missed; identities confused. */
export async function faceBars({ modelPackage, gallery, video, visits, float, cacheFolder, rounds = 3, signal }: FaceBenchOptions): Promise<Bar[]> {
  const options = { gallery, threads: 1, auditSeed: 1, cache: { dir: cacheFolder } };
  const [gated, whole] = [await createPipeline(modelPackage, options), await createPipeline(modelPackage, { ...options, motionGate: false })];
  const contender = float === undefined ? null : await NodeDeveloper.open(float);
  const measured: Measured = { gated: new Least(), whole: new Least(), contender: contender === null ? null : new Least(), exits: {}, seen: [] };
  try {
    let startMs = 0;
    for (let round = 0; round < rounds; round++) {
      let part = 0, lastMs = startMs;
      for await (const frames of turns(video, signal)) {
        if (round + part === 0) await warmUp(frames, [gated, whole]);
        const later = frames.map((frame) => ({ ...frame, mediaMs: startMs + (frame.mediaMs ?? 0) }));
        lastMs = later.at(-1)?.mediaMs ?? lastMs;
        measured.gated.add(part, later.length, await cpuMsOf(async () => { for (const frame of later) await note(measured, gated, { frame, second: (frame.mediaMs - startMs) / 1000 }); }));
        measured.whole.add(part, later.length, await cpuMsOf(async () => { for (const frame of later) await whole.process(frame); }));
        part++;
      }
      startMs = lastMs + roundGapMs;
    }
    if (contender !== null && measured.contender !== null) await measureContender(contender, measured.contender, video, signal);
  } finally {
    await Promise.all([gated.close(), whole.close(), contender?.close()]);
  }
  return rowsOf(measured, visits);
}

/** The footage once more, for the contender alone. */
async function measureContender(contender: NodeDeveloper, times: Least, video: string, signal?: AbortSignal): Promise<void> {
  let part = 0;
  for await (const frames of turns(video, signal)) {
    if (part === 0) await warmUp(frames, [contender]);
    const shown = frames.filter(({ sequence }) => sequence % contenderEvery === 0);
    times.add(part++, shown.length, await cpuMsOf(async () => { for (const frame of shown) await contender.process(frame); }));
  }
}

/** A few seconds of frames at a time, decoded. */
async function* turns(video: string, signal?: AbortSignal): AsyncGenerator<Frame[]> {
  let frames: Frame[] = [];
  for await (const frame of openSource(video, signal === undefined ? {} : { signal })) {
    frames.push(frame);
    if (frames.length < framesATurn) continue;
    yield frames;
    frames = [];
  }
  signal?.throwIfAborted();
  if (frames.length > 0) yield frames;
}

/** First runs take longer; their times lie before those of the footage, and they are photos, which nobody follows. */
async function warmUp(frames: readonly Frame[], contenders: readonly Pick<Pipeline | NodeDeveloper, 'process'>[]): Promise<void> {
  for (const one of contenders) {
    for (const frame of frames.slice(0, 3)) await one.process({ ...frame, still: true, mediaMs: -1000 + (frame.mediaMs ?? 0) });
  }
}

async function note({ exits, seen }: Measured, pipeline: Pipeline, { frame, second }: { frame: Frame; second: number }): Promise<void> {
  const { exit, findings } = await pipeline.process(frame);
  exits[exit] = (exits[exit] ?? 0) + 1;
  for (const { identity } of detectionsOf(findings)) if (identity !== undefined) seen.push({ second, name: identity?.name ?? null });
}

function rowsOf({ gated, whole, contender, exits, seen }: Measured, visits: FaceBenchOptions['visits']): Bar[] {
  const share = gated.meanMs / whole.meanMs;
  const stops = Object.entries(exits).map(([exit, count]) => `${exit} ${count}`).join(', ');
  const isThere = (second: number, { fromS, toS }: { fromS: number; toS: number }): boolean => second >= fromS - marginS && second <= toS + marginS;
  const missed = visits.filter((visit) => !seen.some(({ second, name }) => name === visit.name && isThere(second, visit))).length;
  const confused = seen.filter(({ second, name }) => name !== null && !visits.some((visit) => visit.name === name && isThere(second, visit))).length;
  return [
    { id: 'faces.gates', what: `the face pipeline with gates against without, CPU time a frame (${gated.meanMs.toFixed(2)} of ${whole.meanMs.toFixed(2)} ms; ${stops})`, value: share, unit: 'x', bar: '<= 0.3', met: share <= 0.3 },
    ...(contender === null ? [] : [nodeRow(contender.meanMs, gated.meanMs)]),
    { id: 'faces.missed', what: `visits of ${visits.length} that it missed`, value: missed, unit: '', bar: '0', met: missed === 0 },
    { id: 'faces.confused', what: `findings of ${seen.length} with a name that is not that of who stood there`, value: confused, unit: '', bar: '0', met: confused === 0 },
  ];
}

function nodeRow(contenderMs: number, gatedMs: number): Bar {
  const times = contenderMs / gatedMs;
  return { id: 'faces.node', what: `sharp and onnxruntime-node in float32, both networks on every frame, against it (${contenderMs.toFixed(2)} ms)`, value: times, unit: 'x', bar: '>= 10', met: times >= 10 };
}
