/**
 * From sound to event on a real daemon: a recording that is replayed at its own pace, beside a camera whose pipeline keeps the engine busy. What counts is
 * the time from the first sample of a chunk to the decision over it, smoothing and all, and to the event where there is one.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseConfig, startAgent, type Agent } from '../../../agent/main.js';
import { encodeJpeg } from '../../../runtime/media/index.js';
import { uniform } from '../../compress/random.js';
import { DeviceClient } from '../../demo/device-client.js';
import { DeployError } from '../../errors.js';
import { buildPipelinePackage } from '../../package/build.js';
import { joined } from '../../lab/clips.js';
import { waveOf } from '../../lab/wave.js';
import { buildSirenPackage } from '../../sound/siren/package.js';
import { atLevel, mixAt, siren, sirenKinds, traffic } from '../../sound/synthesize.js';
import type { Bar } from '../bars.js';
import { messagesOf } from '../event-stream.js';
import { generatedNets } from '../nets.js';
import { CameraProcess } from '../pipeline/camera-process.js';
import { percentile } from '../statistics.js';

const FPS = 15;
const DEADLINE_MS = 250;
const sceneSeconds = 4;
const READY_MS = 120_000;

interface Piece {
  exit: string;
  sequence: number;
  latency_ms: number;
  stages: { stage: string; ms: number }[];
}

/** Traffic with each kind of siren in turn, and traffic alone between them. */
function street(): Float32Array {
  const random = uniform(7);
  const scenes = sirenKinds.flatMap((kind) => [atLevel(traffic(sceneSeconds, random), 0.02), mixAt(siren(kind, sceneSeconds, random), traffic(sceneSeconds, random), 5, 0.1)]);
  return joined(scenes);
}

export async function streamBars({ seconds, signal }: { seconds: number; signal: AbortSignal }): Promise<Bar[]> {
  const folder = await mkdtemp(join(tmpdir(), 'sterna-hearing-'));
  const pixels = new Uint8Array(320 * 240 * 3).map((_, i) => (i * 7) & 255);
  const cameras = await CameraProcess.start(1, { jpeg: await encodeJpeg({ width: 320, height: 240, data: pixels }), fps: FPS });
  let agent: Agent | undefined;
  try {
    agent = await startHouse(folder, cameras.urls[0] ?? '');
    await untilReady(agent, join(folder, 'state', 'api.token'), signal);
    const token = (await readFile(join(folder, 'state', 'api.token'), 'utf8')).trim();
    // The first pieces wait for what is compiled.
    await listen(agent, token, { seconds: 3, signal });
    return barsOf(await listen(agent, token, { seconds, signal }), seconds);
  } finally {
    await agent?.stop();
    cameras.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

async function startHouse(folder: string, camera: string): Promise<Agent> {
  const at = (name: string): string => join(folder, name);
  const net = generatedNets['mobilenet_v2']?.() ?? new Uint8Array(0);
  await writeFile(at('ears.sterna'), (await buildSirenPackage({ settings: { gate: { enabled: false } } })).bytes);
  await writeFile(at('eyes.sterna'), (await buildPipelinePackage('classification', { classifier: net }, { name: 'eyes', version: '1.0.0', overrides: { settings: { motion: { enabled: false } } } })).bytes);
  await writeFile(at('street.wav'), waveOf(street()));
  return startAgent(parseConfig({
    state_dir: at('state'), log_level: 'error', api: { port: 0 },
    inputs: { camera_1: { input: camera, fps: FPS }, microphone: { input: at('street.wav'), loop: true, realtime: true } },
    pipelines: { eyes: { input: 'camera_1', package: at('eyes.sterna'), threads: 1 }, ears: { input: 'microphone', package: at('ears.sterna'), threads: 1 } },
  }), { env: {} });
}

/** Both packages run: their self-tests take a while on a small machine. @throws DeployError E_BENCH */
async function untilReady(agent: Agent, tokenFile: string, signal: AbortSignal): Promise<void> {
  const client = new DeviceClient(agent.apiUrl ?? '', tokenFile);
  for (const endMs = Date.now() + READY_MS; !(await client.runsModel());) {
    signal.throwIfAborted();
    if (Date.now() > endMs) throw new DeployError('E_BENCH', `The packages of the bench did not run within ${READY_MS / 1000} s`);
    await sleep(200);
  }
}

interface Heard {
  pieces: Piece[];
  frames: number;
}

async function listen(agent: Agent, token: string, { seconds, signal }: { seconds: number; signal: AbortSignal }): Promise<Heard> {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), 1000 * seconds);
  const heard: Heard = { pieces: [], frames: 0 };
  try {
    const answer = await fetch(`${agent.apiUrl ?? ''}/api/events?frames=1`, { headers: { authorization: `Bearer ${token}` }, signal: stop.signal });
    for await (const { event, data } of messagesOf(answer)) {
      if (event === 'frame') heard.frames++;
      if (event === 'sound') heard.pieces.push(JSON.parse(data) as Piece);
    }
  } catch (error) {
    if (!stop.signal.aborted) throw error;
  } finally {
    clearTimeout(timer);
  }
  signal.throwIfAborted();
  return heard;
}

function barsOf({ pieces, frames }: Heard, seconds: number): Bar[] {
  const publishOf = ({ stages }: Piece): number => stages.find(({ stage }) => stage === 'publish')?.ms ?? 0;
  const decided = pieces.filter(({ exit }) => exit === 'full');
  const times = decided.map((piece) => piece.latency_ms + publishOf(piece)).sort((a, b) => a - b);
  if (times.length === 0) throw new DeployError('E_BENCH', `The daemon decided over no piece of sound in ${seconds} s; a longer measurement (--seconds) may help on a busy machine`);
  const numbers = pieces.map(({ sequence }) => sequence);
  const undone = Math.max(...numbers) - Math.min(...numbers) + 1 - decided.length;
  const [p99, worst] = [percentile(times, 99), times.at(-1) ?? NaN];
  const beside = `in ${seconds} s beside a camera with ${(frames / seconds).toFixed(1)} frames/s`;
  const late = pieces.filter(({ exit }) => exit === 'late');
  const slow = late.filter(({ stages }) => stages.some(({ stage }) => stage === 'infer')).length;
  const events = decided.filter((piece) => publishOf(piece) > 0).length;
  return [
    { id: 'sound.to_event_p99', what: `from sound to event, p99 ${beside} (${decided.length} decisions, ${events} with events)`, value: p99, unit: 'ms', bar: `<= ${DEADLINE_MS}`, met: p99 <= DEADLINE_MS },
    { id: 'sound.to_event_worst', what: 'from sound to event, worst', value: worst, unit: 'ms', bar: `<= ${DEADLINE_MS}`, met: worst <= DEADLINE_MS },
    { id: 'sound.not_decided', what: `windows that were not decided: ${late.length - slow} had waited too long for the process, ${slow} had a run that took too long, ${undone - late.length} were stopped or lost`, value: undone, unit: 'windows', bar: '<= 0', met: undone === 0 },
  ];
}
