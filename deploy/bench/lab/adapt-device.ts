/** What a device spends on adapting thresholds: the daemon's own state machine with a real process, on a clock of processor time and rests. */
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ThresholdAdapter, type AdapterParts } from '../../../agent/adapt/adapter.js';
import { OverlayFiles } from '../../../agent/adapt/overlay-files.js';
import { runtimePort } from '../../../agent/inference/runtime-port.js';
import { parseConfig } from '../../../agent/main.js';
import type { Image } from '../../../runtime/frame.js';
import { openSource } from '../../../runtime/media/index.js';
import { openPackage } from '../../../runtime/package/index.js';
import { buildPipelinePackage } from '../../package/build.js';
import { compressStages } from '../../package/compress.js';
import { prepareModel } from '../../run/open.js';
import { absentOf, type Absent, type Bar } from '../bars.js';
import { memoryIn } from '../process-figures.js';
import type { LabBenchOptions } from './options.js';

/** Frames that thresholds are chosen by, and that judge them; a device takes more of them, over the same steps. */
const frames = 16;
const judged = 5;
const cpuShare = 0.05;

type AdaptReport = ThresholdAdapter['report'];
type AdaptCandidate = Awaited<ReturnType<NonNullable<AdapterParts['open']>>>;

/** A picture as a camera of less contrast shows it. */
const faded = ({ data, ...size }: Image): Image => ({ ...size, data: Uint8Array.from(data, (value) => Math.round(127.5 + 0.35 * (value - 127.5))) });

/** A file of /proc; empty when what it tells of is gone: threads and processes end while they are listed. */
function told(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Memory that only this process has, bytes, from /proc; null when it is gone. */
function ownBytes(pid: string): number | null {
  return memoryIn(told(`/proc/${pid}/status`), 'RssAnon');
}

/** Processes that this one started to adapt. */
const adaptingProcesses = (): string[] => readdirSync('/proc/self/task').flatMap((thread) => told(`/proc/self/task/${thread}/children`).trim().split(' '))
  .filter((pid) => pid !== '' && told(`/proc/${pid}/cmdline`).includes('adapt-main'));

/** What a device would have: time stands while the process works, and goes on by the processor time that it took, whatever else this machine does. */
class Time {
  #ms = 0;
  #busy = 0;

  monotonicMs(): number {
    return this.#ms;
  }

  async during<T extends object>(work: Promise<T>): Promise<T> {
    this.#busy += 1;
    try {
      const done = await work;
      this.#ms += 'cpuMs' in done ? Number(done.cpuMs) : 0;
      return done;
    } finally {
      this.#busy -= 1;
    }
  }

  /** Nobody works. */
  pass(): void {
    if (this.#busy === 0) this.#ms += 20;
  }
}

/** A process that adapts, in this time. */
function timed(child: AdaptCandidate, time: Time): AdaptCandidate {
  const during = <T extends object>(work: Promise<T>): Promise<T> => time.during(work);
  return {
    openedCpuMs: child.openedCpuMs, gather: (frame) => during(child.gather(frame)), step: () => during(child.step()), judge: (frame) => during(child.judge(frame)),
    verdict: () => during(child.verdict()), close: () => child.close(),
  };
}

interface Spent {
  report: AdaptReport;
  /** Time that a device would have taken, milliseconds. */
  elapsedMs: number;
  peakBytes: number;
}

/** Adapts a package to pictures as a device does. */
async function adaptOnDevice(path: string, digest: string, pictures: readonly Image[], folder: string, signal: AbortSignal): Promise<Spent> {
  const config = parseConfig({ device_id: 'bench', fleet: 'bench', state_dir: folder, cache_dir: folder });
  const port = runtimePort({ ...config, cache_max_bytes: 0 }, () => undefined);
  const time = new Time();
  let peakBytes = 0;
  const adapter = new ThresholdAdapter(true, {
    files: new OverlayFiles(join(folder, 'overlays')), reload: () => undefined, rests: () => null, clock: time, lookMs: 1,
    limits: { cpuShare, frames, judged, everyMs: 1 }, onChange: () => undefined, onOutcome: () => undefined,
    open: async (_, end) => {
      if (port.openAdapt === undefined) throw new Error('this runtime adapts nothing');
      return timed(await time.during(port.openAdapt(path, { timeoutMs: 600_000, memoryBytes: config.adapt.memory_bytes }, end)), time);
    },
  });
  const slot = { name: 'bench', version: '1.0.0', digest, size_bytes: 1, since_ms: 0 };
  adapter.switched(slot);
  const watch = setInterval(() => { for (const pid of adaptingProcesses()) peakBytes = Math.max(peakBytes, ownBytes(pid) ?? 0); }, 20);
  try {
    for (let i = 0; !['adapted', 'unchanged', 'failed'].includes(adapter.report.state); i++) {
      signal.throwIfAborted();
      const picture = pictures[i % pictures.length];
      if (picture !== undefined) adapter.offer({ frame: { ...picture, sequence: i, capturedMs: time.monotonicMs() }, result: { exit: 'full' }, running: { slot } });
      await new Promise((done) => { setTimeout(done, 2); });
      time.pass();
    }
    return { report: adapter.report, elapsedMs: time.monotonicMs(), peakBytes };
  } finally {
    clearInterval(watch);
    adapter.stop();
  }
}

export async function adaptDeviceBars({ models, samples, signal }: LabBenchOptions & { models: string; samples: string }): Promise<Bar[] | Absent> {
  const [model, source] = [join(models, 'version-RFB-320.onnx'), join(samples, 'coco128', 'images')];
  const absent = process.platform === 'linux' ? absentOf([model, source]) : { absent: 'it reads /proc, which is of Linux' };
  if (absent !== undefined) return absent;
  const pictures: Image[] = [];
  for await (const { width, height, data } of openSource(source)) if (pictures.push({ width, height, data: Uint8Array.from(data) }) === 48) break;
  const prepared = await prepareModel(model, { sizes: {} });
  const compressed = await compressStages(prepared.kind, prepared.models, pictures.slice(0, 16).map(faded), { overrides: prepared.description });
  const { bytes } = await buildPipelinePackage(prepared.kind, compressed.models, { name: 'bench', version: '1.0.0', overrides: prepared.description, budget: { p99_ms: 60_000 } });
  const folder = await mkdtemp(join(tmpdir(), 'sterna-bench-adapt-'));
  try {
    const path = join(folder, 'bench.sterna');
    await writeFile(path, bytes);
    const { report, elapsedMs, peakBytes } = await adaptOnDevice(path, (await openPackage(path)).sha256, pictures.slice(16), folder, signal);
    const [share, megabytes] = [(100 * report.cpu_ms) / elapsedMs, peakBytes / 2 ** 20];
    const said = `${report.state}${report.reason === null ? '' : ` (${report.reason})`}, ${report.frames} frames, ${(report.cpu_ms / 1000).toFixed(1)} s of processor time in ${(elapsedMs / 1000).toFixed(0)} s`;
    return [
      { id: 'lab.adapt_cpu', what: `of a core while a device adapts a face detector of 320 x 240: ${said}`, value: share, unit: '%', bar: '<= 5', met: share <= 5 && report.state !== 'failed' },
      { id: 'lab.adapt_memory', what: 'most memory of its own of the process that adapts it (RssAnon)', value: megabytes, unit: 'MiB', bar: '<= 32', met: megabytes <= 32 },
    ];
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
