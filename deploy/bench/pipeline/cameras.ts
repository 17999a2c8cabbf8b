/**
 * Several cameras on one daemon: whether one that stalls and one that floods change what the others get, and how many frames are late. A real daemon with
 * its loops, turns and API, real MJPEG cameras over HTTP, and an engine of known cost, so that the figures are those of the daemon and not of a network.
 * The cameras are a process of their own and note when they send: what counts is the time from there to the result, so a camera that a busy machine
 * delays does not count as a late frame.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseConfig, startAgent, type Agent } from '../../../agent/main.js';
import { encodeJpeg } from '../../../runtime/media/index.js';
import { DeployError } from '../../errors.js';
import type { Bar } from '../bars.js';
import { messagesOf } from '../event-stream.js';
import { percentile } from '../statistics.js';
import { benchRuntime } from './engine.js';
import { CameraProcess, type Sent } from './camera-process.js';

export interface CameraBenchOptions {
  /** Of each of the two measurements, seconds. The bar of late frames is meant for 600. */
  seconds: number;
  /** Share of the engine that four cameras use. */
  load?: number;
  signal?: AbortSignal;
}

const CAMERAS = 4;
const FPS = 10;
const PERIOD_MS = 1000 / FPS;
const WARM_UP_S = 3;
/** The two that misbehave. */
const [STALLS, FLOODS] = [2, 3];

/** A result, as the daemon's own stream of frames tells it. */
interface Result {
  camera: number;
  sequence: number;
  /** Milliseconds since 1970. */
  doneMs: number;
}

interface Sample {
  camera: number;
  /** From sending the frame to its result. */
  addedMs: number;
}

interface Span {
  samples: Sample[];
  /** Frames that were sent, and had no result at the end although others that were sent later had one. */
  lost: number;
  /** Pictures that the cameras themselves sent late. */
  sentLate: number;
}

interface House {
  cameras: CameraProcess;
  /** Frames of these seconds. */
  measure: (seconds: number) => Promise<Span>;
  stop: () => Promise<void>;
}

/** Four cameras at 10 fps; then one stalls and one floods. The p99 of the other two must hardly change. */
export async function stallAndFlood({ seconds, load = 0.6, signal }: CameraBenchOptions): Promise<Bar[]> {
  const house = await openHouse(load);
  try {
    const steady: Sample[] = [];
    const disturbed: Sample[] = [];
    // In turns, so that what else the machine does falls on both alike.
    const rounds = Math.max(1, Math.round(seconds / 20));
    for (let round = 0; round < rounds; round++) {
      signal?.throwIfAborted();
      house.cameras.behave(STALLS, 'steady');
      house.cameras.behave(FLOODS, 'steady');
      await house.measure(WARM_UP_S);
      steady.push(...(await house.measure(seconds / rounds)).samples);
      house.cameras.behave(STALLS, 'stalled');
      house.cameras.behave(FLOODS, 'flooding');
      await house.measure(WARM_UP_S);
      disturbed.push(...(await house.measure(seconds / rounds)).samples);
    }
    const [before, after] = [p99Of(steady), p99Of(disturbed)];
    const change = (after / before - 1) * 100;
    return [
      { id: 'cameras.fair', what: `p99 of two of four cameras at ${FPS} fps when another stalls and the fourth floods, ${seconds} s each (${before.toFixed(1)} -> ${after.toFixed(1)} ms)`, value: change, unit: '%', bar: '<= 10', met: change <= 10 },
    ];
  } finally {
    await house.stop();
  }
}

/** Four cameras at 10 fps use 60 % of the engine: hardly a frame may be late by more than a period, or be dropped. */
export async function lateFrames({ seconds, load = 0.6, signal }: CameraBenchOptions): Promise<Bar[]> {
  const house = await openHouse(load);
  try {
    await house.measure(WARM_UP_S);
    signal?.throwIfAborted();
    const { samples, lost, sentLate } = await house.measure(seconds);
    const late = samples.filter(({ addedMs }) => addedMs > PERIOD_MS).length;
    const share = ((late + lost) / (samples.length + lost)) * 100;
    return [{ id: 'cameras.late', what: `frames late by more than a period of ${PERIOD_MS} ms in ${seconds} s at ${load * 100} % load (${late} of ${samples.length}; ${lost} lost, which count; the cameras sent ${sentLate} late themselves)`, value: share, unit: '%', bar: '<= 0.1', met: share <= 0.1 }];
  } finally {
    await house.stop();
  }
}

function p99Of(samples: readonly Sample[]): number {
  const others = samples.filter(({ camera }) => camera !== STALLS && camera !== FLOODS).map(({ addedMs }) => addedMs);
  return percentile(others.sort((a, b) => a - b), 99);
}

async function openHouse(load: number): Promise<House> {
  const folder = await mkdtemp(join(tmpdir(), 'sterna-cameras-'));
  const jpeg = await encodeJpeg({ width: 320, height: 240, data: new Uint8Array(320 * 240 * 3).map((_, i) => (i * 7) & 255) });
  const cameras = await CameraProcess.start(CAMERAS, { jpeg, fps: FPS });
  const { urls } = cameras;
  await writeFile(join(folder, 'engine.sterna'), 'an engine of known cost');
  const names = urls.map((_, index) => `camera-${index}`);
  const agent = await startAgent(parseConfig({
    state_dir: join(folder, 'state'), log_level: 'error', api: { port: 0 },
    inputs: Object.fromEntries(urls.map((input, index) => [names[index], { input, fps: FPS, stall_ms: 600_000 }])),
    // One turn at a time, as on a device with one core for the engine: a pipeline that has all cores leaves none to another.
    pipelines: Object.fromEntries(names.map((name) => [name, { input: name, threads: availableParallelism(), package: join(folder, 'engine.sterna') }])),
  }), { runtime: benchRuntime((load * PERIOD_MS) / CAMERAS), env: {} });
  const token = (await readFile(join(folder, 'state', 'api.token'), 'utf8')).trim();
  return {
    cameras,
    measure: async (seconds) => {
      const before = await cameras.sent();
      const results = await listen(agent, token, { names, seconds });
      return spanOf(results, before, await cameras.sent());
    },
    stop: async () => {
      await agent.stop();
      cameras.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function listen(agent: Agent, token: string, { names, seconds }: { names: readonly string[]; seconds: number }): Promise<Result[]> {
  const stop = new AbortController();
  const answer = await fetch(`${agent.apiUrl ?? ''}/api/events?frames=1`, { headers: { authorization: `Bearer ${token}` }, signal: stop.signal });
  const results: Result[] = [];
  const reading = (async () => {
    for await (const { event, data } of messagesOf(answer)) {
      if (event !== 'frame') continue;
      const frame = JSON.parse(data) as { pipeline: string; sequence: number; captured_ms: number; latency_ms: number };
      results.push({ camera: names.indexOf(frame.pipeline), sequence: frame.sequence, doneMs: frame.captured_ms + frame.latency_ms });
    }
  })().catch(() => undefined);
  await sleep(seconds * 1000);
  stop.abort();
  await reading;
  return results;
}

/** The frames of a measurement, each with when it was sent. */
function spanOf(results: readonly Result[], before: Sent, after: Sent): Span {
  const samples = results.flatMap(({ camera, sequence, doneMs }): Sample[] => {
    const sentMs = after.times[camera]?.[sequence];
    return sentMs === undefined ? [] : [{ camera, addedMs: doneMs - sentMs }];
  });
  const numbers = Array.from({ length: CAMERAS }, (_, camera) => results.filter((result) => result.camera === camera).map(({ sequence }) => sequence));
  const lost = numbers.reduce((sum, seen) => sum + (seen.length === 0 ? 0 : Math.max(...seen) - Math.min(...seen) + 1 - seen.length), 0);
  if (samples.length === 0) throw new DeployError('E_BENCH', 'The daemon gave no result for the frames of the cameras; a longer measurement (--seconds) may help on a busy machine');
  return { samples, lost, sentLate: after.lateBeats - before.lateBeats };
}
