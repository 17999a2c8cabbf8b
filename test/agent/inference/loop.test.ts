import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { InferenceLoop, type CameraState } from '../../../agent/inference/loop.js';
import type { ProcessedFrame } from '../../../agent/ground/frames.js';
import { EngineTurns } from '../../../agent/inference/engine-turns.js';
import { PipelineSlot } from '../../../agent/inference/pipeline-slot.js';
import type { Model } from '../../../agent/ground/runtime.js';
import { isLive } from '../../../agent/inference/source.js';
import type { Slot } from '../../../agent/ground/package.js';
import { systemClock } from '../../../agent/platform/clock.js';
import type { Frame, FrameSource } from '../../../runtime/frame.js';
import { keepPicture, PictureMemory } from '../../../runtime/picture-memory.js';
import { until } from '../support/tools.js';

/** A model that notes what happens to it. */
function model(version: string, options: { ms?: number; fails?: boolean } = {}): { model: Model; slot: Slot; log: string[] } {
  const log: string[] = [];
  let open = true;
  return {
    log,
    slot: { name: 'm', version, digest: version.repeat(8), size_bytes: 1, since_ms: 0 },
    model: {
      selfTest: () => Promise.reject(new Error('not here')),
      pipeline: {
        name: 'm', version, embeddingSpaceId: null, memoryBytes: 0, embed: () => Promise.resolve([]), withStages: (work) => work({}), rehearse: () => Promise.resolve(),
        process: async (frame) => {
          if (!open) throw new Error('used after close');
          await sleep(options.ms ?? 1);
          if (!open) throw new Error('closed during a frame');
          if (options.fails === true) throw new Error('bad frame');
          log.push(`frame ${frame.sequence}`);
          return { sequence: frame.sequence, capturedMs: frame.capturedMs, findings: [], exit: 'full', cells: null, audit: false, stages: [], totalMs: 1 };
        },
        close: () => { open = false; log.push('closed'); return Promise.resolve(); },
      },
    },
  };
}

interface Script {
  frames: number;
  /** Dropped before frame n, added up. */
  dropped?: (sequence: number) => number;
  error?: Error;
  ms?: number;
}

function source(script: Script, signal: AbortSignal): FrameSource {
  const state = { dropped: 0 };
  return {
    get dropped() { return state.dropped; },
    async *[Symbol.asyncIterator](): AsyncGenerator<Frame> {
      for (let sequence = 0; sequence < script.frames && !signal.aborted; sequence++) {
        state.dropped = script.dropped?.(sequence) ?? 0;
        yield { sequence, capturedMs: performance.now(), width: 1, height: 1, data: new Uint8Array(3) };
        await sleep(script.ms ?? 1);
      }
      if (script.error !== undefined) throw script.error;
    },
  };
}

function bench(scripts: Script[], live = false, turns?: EngineTurns): { loop: InferenceLoop; slot: PipelineSlot; frames: ProcessedFrame[]; cameras: CameraState[]; idle: number[]; errors: string[]; opened: { n: number } } {
  const slot = new PipelineSlot();
  const frames: ProcessedFrame[] = [];
  const cameras: CameraState[] = [];
  const idle: number[] = [];
  const errors: string[] = [];
  const opened = { n: 0 };
  const loop = new InferenceLoop(slot, systemClock(), {
    input: 'x', live, backoff: { baseMs: 5, capMs: 10 }, ...(turns === undefined ? {} : { turns: { name: 'x', of: turns } }),
    open: (signal) => source(scripts[Math.min(opened.n++, scripts.length - 1)] ?? { frames: 0 }, signal),
  }, {
    onFrame: (f) => frames.push(f), onIdleFrame: (f) => idle.push(f.sequence), onPipelineError: (_, e) => errors.push(e.message),
    onCamera: (state) => cameras.push(state),
  });
  onTestFinished(() => loop.stop());
  return { loop, slot, frames, cameras, idle, errors, opened };
}

describe('the pictures of frames', () => {
  /** The frames' memory is counted: what is released is lent again. */
  function lending(frames: number, signal: AbortSignal, buffers: ArrayBufferLike[]): FrameSource {
    const memory = new PictureMemory();
    return {
      dropped: 0,
      async *[Symbol.asyncIterator](): AsyncGenerator<Frame> {
        for (let sequence = 0; sequence < frames && !signal.aborted; sequence++) {
          const data = memory.take(3).fill(sequence);
          buffers.push(data.buffer);
          yield { sequence, capturedMs: performance.now(), width: 1, height: 1, data };
          await sleep(1);
        }
      },
    };
  }

  async function run(handlers: { onFrame?: (frame: Frame) => void }, options: { running?: ReturnType<typeof model>; pace?: number } = {}): Promise<{ pictures: number; latest: Frame }> {
    const slot = new PipelineSlot();
    if (options.running !== undefined) await slot.exchange(options.running.model, options.running.slot);
    const buffers: ArrayBufferLike[] = [];
    let ended: () => void = () => undefined;
    const end = new Promise<void>((resolve) => { ended = resolve; });
    const loop = new InferenceLoop(slot, systemClock(), { input: 'x', live: false, open: (signal) => lending(20, signal, buffers) }, {
      onFrame: ({ frame }) => handlers.onFrame?.(frame as Frame), onIdleFrame: () => undefined, onPipelineError: () => undefined,
      onCamera: (state) => { if (state === 'ended') ended(); },
    });
    loop.setPace(options.pace ?? 1);
    loop.start();
    await end;
    const latest = loop.latest?.frame as Frame;
    await loop.stop();
    expect(buffers).toHaveLength(20);
    return { pictures: new Set(buffers).size, latest };
  }

  it('are given back after the next frame, so that two are enough', async () => {
    const values: number[] = [];
    const { pictures, latest } = await run({ onFrame: ({ data }) => values.push(data[0] ?? -1) }, { running: model('1') });
    expect(pictures).toBe(2);
    expect(values).toEqual(Array.from({ length: 20 }, (_, i) => i));
    expect(latest.data[0]).toBe(19);
  });

  it('are given back when no package runs, when a pipeline fails, and when the pace leaves them out', async () => {
    expect((await run({})).pictures).toBe(2);
    expect((await run({}, { running: model('1', { fails: true }) })).pictures).toBe(1);
    expect((await run({}, { running: model('1'), pace: 0.5 })).pictures).toBe(2);
  });

  it('stay as they are for whoever keeps them', async () => {
    const kept: Frame[] = [];
    await run({ onFrame: (frame) => { keepPicture(frame); kept.push(frame); } }, { running: model('1') });
    expect(kept.map(({ data }) => data[0])).toEqual(kept.map(({ sequence }) => sequence));
  });
});

describe('the inference loop', () => {
  it('takes the share of the frames that the pace allows, evenly spread', async () => {
    const { loop, slot, frames } = bench([{ frames: 40 }]);
    const { model: running, slot: place } = model('1');
    await slot.exchange(running, place);
    loop.setPace(0.25);
    loop.start();
    await until('the source ends', () => loop.camera === 'ended');
    expect(frames.map(({ frame }) => frame.sequence)).toEqual([3, 7, 11, 15, 19, 23, 27, 31, 35, 39]);
  });

  it('exchanges pipelines between two frames, and loses none', async () => {
    const { loop, slot, frames, errors } = bench([{ frames: 400 }]);
    const models = ['1', '2', '3', '4'].map((v) => model(v));
    const first = models[0];
    if (first === undefined) throw new Error('no model');
    await slot.exchange(first.model, first.slot);
    loop.start();
    for (const next of models.slice(1)) {
      const before = frames.length;
      await until('some frames', () => frames.length > before + 5);
      await slot.exchange(next.model, next.slot);
    }
    await until('the end', () => loop.camera === 'ended');
    expect(errors).toEqual([]);
    expect(frames.map((f) => f.frame.sequence)).toEqual(Array.from({ length: 400 }, (_, i) => i));
    expect(frames.every((f) => f.droppedBySwap === 0)).toBe(true);
    expect(slot.swaps).toBe(3);
    for (const m of models.slice(0, 3)) expect(m.log.at(-1)).toBe('closed');
    expect(models[3]?.log).not.toContain('closed');
  });

  it('closes the old pipeline only when its frame is done', async () => {
    const slot = new PipelineSlot();
    const slow = model('1', { ms: 50 });
    const fast = model('2');
    await slot.exchange(slow.model, slow.slot);
    const frame: Frame = { sequence: 0, capturedMs: 0, width: 1, height: 1, data: new Uint8Array(3) };
    const work = slot.use((r) => r.model.pipeline.process(frame));
    await slot.exchange(fast.model, fast.slot);
    await expect(work).resolves.toMatchObject({ sequence: 0 });
    expect(slow.log).toEqual(['frame 0', 'closed']);
    expect(await new PipelineSlot().use(() => Promise.resolve(1))).toBeNull();
  });

  it('counts what the source dropped, and what the exchange would have cost', async () => {
    const { loop, slot, frames } = bench([{ frames: 20, ms: 5, dropped: (n) => (n < 10 ? 0 : 3) }]);
    const [a, b] = [model('1'), model('2')];
    await slot.exchange(a.model, a.slot);
    loop.start();
    await until('half', () => frames.length >= 5);
    await slot.exchange(b.model, b.slot);
    await until('the end', () => loop.camera === 'ended');
    expect(frames.reduce((sum, f) => sum + f.droppedBefore, 0)).toBe(3);
    expect(frames.reduce((sum, f) => sum + f.droppedBySwap, 0)).toBe(0);
  });

  it('runs without a package, and shows what the camera sees', async () => {
    const { loop, idle } = bench([{ frames: 5 }]);
    loop.start();
    await until('the end', () => loop.camera === 'ended');
    expect(idle).toEqual([0, 1, 2, 3, 4]);
    expect(loop.latest).toMatchObject({ frame: { sequence: 4 }, result: null });
  });

  it('goes on after a frame on which the pipeline fails', async () => {
    const { loop, slot, errors } = bench([{ frames: 3 }]);
    const bad = model('1', { fails: true });
    await slot.exchange(bad.model, bad.slot);
    loop.start();
    await until('the end', () => loop.camera === 'ended');
    expect(errors).toEqual(['bad frame', 'bad frame', 'bad frame']);
    expect(loop.busySinceMs).toBeNull();
  });

  it('opens a camera again that failed, or whose stream ended', async () => {
    const { loop, cameras, opened } = bench([{ frames: 2, error: new Error('unplugged') }, { frames: 1 }, { frames: 1e9 }], true);
    loop.start();
    await until('third try', () => opened.n === 3 && loop.camera === 'running');
    expect(cameras).toEqual(['opening', 'running', 'lost', 'opening', 'running', 'lost', 'opening', 'running']);
  });

  it('stops while it waits for a lost camera, and starts again', async () => {
    const { loop, opened } = bench([{ frames: 0, error: new Error('no camera') }], true);
    loop.start();
    await until('lost', () => loop.camera === 'lost');
    await loop.stop();
    await loop.stop();
    expect(loop.camera).toBe('none');
    const before = opened.n;
    loop.start();
    await until('tried again', () => opened.n > before);
  });

  it('waits for its turn, and gives it back also after a failure', async () => {
    const { loop, slot, frames, errors } = bench([{ frames: 3 }], false, new EngineTurns(systemClock(), { slots: 1 }));
    const bad = model('1', { fails: true });
    await slot.exchange(bad.model, bad.slot);
    loop.start();
    await until('the end', () => loop.camera === 'ended');
    expect([errors.length, frames.length]).toEqual([3, 0]);
  });

  it('of a pipeline that hangs leaves the turns to the others, and stops while it waits for one', async () => {
    const turns = new EngineTurns(systemClock(), { slots: 1, overdueMs: 30 });
    await turns.take('hangs', new AbortController().signal);
    const going = bench([{ frames: 5 }], false, turns);
    const fast = model('1');
    await going.slot.exchange(fast.model, fast.slot);
    going.loop.start();
    await until('the end', () => going.loop.camera === 'ended');
    expect(going.frames).toHaveLength(5);
    const held = new EngineTurns(systemClock(), { slots: 1, overdueMs: 1e9 });
    await held.take('hangs', new AbortController().signal);
    const waiting = bench([{ frames: 5 }], false, held);
    await waiting.slot.exchange(model('2').model, fast.slot);
    waiting.loop.start();
    await until('a frame', () => waiting.loop.frames === 1);
    expect(waiting.loop.busySinceMs).toBeNull();
    await waiting.loop.stop();
    expect(waiting.frames).toHaveLength(0);
  });

  it('takes new settings by opening the source again', async () => {
    const { loop, opened } = bench([{ frames: 1 }]);
    loop.start();
    await until('ended', () => loop.camera === 'ended');
    loop.restartSource();
    await until('again', () => opened.n === 2);
  });
});

describe('inputs', () => {
  it('are live or not, and show no password', () => {
    expect(['rtsp://cam/1', 'http://cam/video', '/dev/video0', '/x/film.mp4', 'dir', 'stdin:640x480'].map(isLive)).toEqual([true, true, true, false, false, false]);
  });
});
