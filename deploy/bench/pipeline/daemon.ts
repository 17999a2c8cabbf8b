import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DeployError } from '../../errors.js';
import { builtScript } from '../built-script.js';
import type { Bar } from '../bars.js';
import { cpuSecondsOf, memoryOf } from '../process-figures.js';

const FPS = 15;
/** After the start: models are opened, and the daemon has released the pages of its start, which it does once a minute. */
const SETTLED_SECONDS = 75;
const SAMPLE_SECONDS = 5;
const RSS_BAR = 110e6;

interface DaemonBenchOptions {
  /** A package of faces. */
  path: string;
  ffmpeg: string;
  /** How long is measured, once everything has settled. */
  seconds: number;
  signal: AbortSignal;
}

/**
 * Rows: what the whole process of the daemon takes with a package and a quiet camera, decoder and broker aside. Frames that stop at the first gate cost a
 * quarter of a millisecond, so this is what everything around them costs: reading pictures, collecting garbage, telemetry.
 */
export async function daemonBars({ path, ffmpeg, seconds, signal }: DaemonBenchOptions): Promise<Bar[]> {
  const folder = await mkdtemp(join(tmpdir(), 'sterna-daemon-'));
  let daemon: ChildProcess | undefined;
  try {
    daemon = spawn(process.execPath, [builtScript('agent/main.js'), '--config', await configure(folder, path, quietFilm(ffmpeg, folder))], { stdio: 'ignore' });
    const { pid } = daemon;
    if (pid === undefined) throw new DeployError('E_BENCH', 'The daemon does not start');
    await sleep(SETTLED_SECONDS * 1000, undefined, { signal });
    const [cpu, startedMs] = [cpuSecondsOf(pid), performance.now()];
    const resident: number[] = [];
    while (performance.now() - startedMs < seconds * 1000) {
      await sleep(SAMPLE_SECONDS * 1000, undefined, { signal });
      resident.push(memoryOf(pid, 'VmRSS'));
    }
    const measured = (performance.now() - startedMs) / 1000;
    return rowsOf((cpuSecondsOf(pid) - cpu) / measured, Math.max(...resident));
  } finally {
    daemon?.kill('SIGKILL');
    await rm(folder, { recursive: true, force: true });
  }
}

function rowsOf(cores: number, resident: number): Bar[] {
  const camera = `with the face package and a quiet camera of 640 x 480 at ${FPS} frames/s`;
  return [
    { id: 'daemon.cpu', what: `of a core, the daemon ${camera}`, value: cores * 100, unit: '%', bar: '-', met: true },
    { id: 'daemon.cpu-a-frame', what: 'the same, a frame', value: (cores * 1000) / FPS, unit: 'ms', bar: '-', met: true },
    { id: 'daemon.rss', what: `resident memory, the daemon ${camera}, most`, value: resident / 1e6, unit: 'MB', bar: `<= ${RSS_BAR / 1e6}`, met: resident <= RSS_BAR },
  ];
}

async function configure(folder: string, path: string, film: string): Promise<string> {
  const file = join(folder, 'sterna.yaml');
  await writeFile(file, JSON.stringify({
    state_dir: join(folder, 'state'), cache_dir: join(folder, 'cache'), log_level: 'error', api: { port: 0 }, pipeline: { package: path }, camera: { input: film, fps: FPS, loop: true },
  }));
  return file;
}

/** A still picture with the noise of a camera. @throws DeployError E_FFMPEG */
function quietFilm(ffmpeg: string, folder: string): string {
  const film = join(folder, 'quiet.mp4');
  const picture = ['-f', 'lavfi', '-i', `smptebars=size=640x480:rate=${FPS}`, '-vf', 'noise=alls=3:allf=t', '-t', '60'];
  const { status, stderr } = spawnSync(ffmpeg, ['-v', 'error', ...picture, '-c:v', 'mpeg4', '-q:v', '3', film], { encoding: 'utf8' });
  if (status !== 0) throw new DeployError('E_FFMPEG', `ffmpeg made no film: ${stderr}`);
  return film;
}
