/**
 * A device that switches between two packages while frames come: FOLDER SWITCHES. It runs on the built code, in a process of its own, so that its memory
 * is that of a daemon. FOLDER has `a.sterna` and `b.sterna`. At its end it says in a line of JSON what it has measured.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseConfig } from '../../../dist/agent/config/load.js';
import { InferenceLoop } from '../../../dist/agent/inference/loop.js';
import { PipelineSlot } from '../../../dist/agent/inference/pipeline-slot.js';
import { runtimePort } from '../../../dist/agent/inference/runtime-port.js';
import { OtaManager } from '../../../dist/agent/ota/manager.js';
import { openJournal } from '../../../dist/agent/ota/open-journal.js';
import { PointerFile } from '../../../dist/agent/ota/pointer-file.js';
import { PackageStore } from '../../../dist/agent/ota/store.js';
import { systemClock } from '../../../dist/agent/platform/clock.js';
import { useLittleMemory } from '../../../dist/agent/platform/frugal.js';
import { createLog } from '../../../dist/agent/platform/log.js';

const FRAME_MS = 25;
/** As `pipeline.deadline_ms` of the configuration. */
const LATE_MS = 250;
const BLOCK_BYTES = 65_536;

useLittleMemory(); // as the daemon
const [folder = '', count = '2'] = process.argv.slice(2);
const switches = Number(count);
const config = parseConfig({ state_dir: join(folder, 'state') });
const port = runtimePort(config, (warning) => process.stderr.write(`${warning.code}\n`));
const gallery = port.openGallery(':memory:', null);
const clock = systemClock();
const slot = new PipelineSlot();
const packages = new Map(['a', 'b'].map((name) => {
  const bytes = readFileSync(join(folder, `${name}.sterna`));
  return [name, { bytes, digest: createHash('sha256').update(bytes).digest('hex') }];
}));
const rules = {
  gate: { allow_without_golden: false }, shadow: { every: 0, min_samples: 1, max_ms: 1, undecided: 'commit', agreement: 0, identity_agreement: 0, latency_ratio: 9 },
  probation: { error_share: 0.1, latency_ratio: 1.5, miss_rate: 1, throttled_ms: 60_000 },
};

const { journal, lastRun, close } = openJournal(join(folder), null, (error) => process.stderr.write(`${error.code}\n`));
const manager = new OtaManager({
  journal: journal.of('main'), lastRun: { ended: lastRun.ended, opening: null }, clock, log: createLog('error'), rules: () => rules,
  store: new PackageStore(join(folder, 'packages')), pointer: new PointerFile(join(folder, 'slots.json')),
  host: {
    open: (path) => port.openModel(path, gallery, {}),
    describe: (path) => port.describePackage(path),
    test: async (path) => {
      const model = await port.openModel(path, gallery, {});
      return model.selfTest().finally(() => model.pipeline.close());
    },
    shadow: () => Promise.reject(new Error('nothing is compared here')), serving: () => null, peopleLost: () => 0, throttled: () => Promise.resolve(false),
    switchTo: (model, where) => slot.exchange(model, where),
  },
  link: {
    isConnected: () => true,
    request: () => { throw new Error('the packages are in the store'); },
  },
  onChange: () => undefined, onAnnounce: () => undefined, onFault: (error) => process.stderr.write(`${error.code}: ${error.message}\n`),
}, {
  window: 4, stallMs: 10_000, maxStalls: 6, maxPackageBytes: 100_000_000, factory: null, openTimeoutMs: 120_000, journalRetryMs: 1000,
  limits: { max_tries: 3, max_warm_crashes: 2, retry_base_ms: 5, max_crashes: 3, probation_ms: 3_600_000, max_failed_starts: 3, healthy_ms: 60_000 },
});

/** A camera: a frame that nobody has taken when the next one comes is lost. */
function camera(signal) {
  let [newest, wake, sequence, dropped] = [null, () => undefined, 0, 0];
  const timer = setInterval(() => {
    const data = new Uint8Array(64 * 48 * 3);
    for (let i = 0; i < data.length; i++) data[i] = (sequence * 97 + i * 31) & 255; // no gate takes it for a picture in which nothing moves
    if (newest !== null) dropped += 1;
    newest = { sequence: sequence++, capturedMs: performance.now(), width: 64, height: 48, data };
    wake();
  }, FRAME_MS);
  return {
    get dropped() { return dropped; },
    async *[Symbol.asyncIterator]() {
      try {
        while (!signal.aborted) {
          if (newest === null) await Promise.race([new Promise((resolve) => { wake = resolve; }), sleep(100)]);
          const frame = newest;
          newest = null;
          if (frame !== null) yield frame;
        }
      } finally {
        clearInterval(timer);
      }
    },
  };
}

const frames = [];
const loop = new InferenceLoop(slot, clock, { input: 'camera', live: true, open: (signal) => camera(signal) }, {
  onFrame: (processed) => {
    frames.push({ atMs: processed.doneMs, lateMs: processed.doneMs - processed.frame.capturedMs, lost: processed.droppedBefore, bySwap: processed.droppedBySwap, version: processed.running.slot.version });
    manager.offer(processed);
  },
  onIdleFrame: () => undefined, onPipelineError: (_, error) => { throw new Error(`${error.code}: ${error.message}`); }, onCamera: () => undefined,
});

async function until(what, condition) {
  for (const end = Date.now() + 120_000; !condition(); await sleep(2)) if (Date.now() > end) throw new Error(`gave up waiting: ${what}`);
}

/** After every switch, so that what is compared is not what the garbage collector has left for later. */
async function rss() {
  for (let i = 0; i < 5; i++) {
    globalThis.gc();
    await sleep(20);
  }
  return process.memoryUsage.rss();
}

const windows = [];
async function switchTo(name, generation) {
  const { bytes, digest } = packages.get(name);
  const version = name === 'a' ? '1.0.0' : '2.0.0';
  const stored = join(folder, 'packages', `${digest}.sterna`);
  if (!existsSync(stored)) writeFileSync(stored, bytes); // as if it had been downloaded
  const startMs = performance.now();
  manager.desire({ generation, package: { name: 'faces', version, digest, size_bytes: bytes.length, block_bytes: BLOCK_BYTES } });
  await until(`${version} runs`, () => slot.running?.slot.version === version);
  await sleep(300);
  windows.push({ startMs, endMs: performance.now() });
}

await manager.start();
await switchTo('a', 1);
windows.length = 0;
loop.start();
await until('frames', () => frames.length > 30);
const memory = [];
for (let i = 1; i <= switches; i++) {
  await switchTo(i % 2 === 1 ? 'b' : 'a', i + 1);
  memory.push(await rss());
}
const [running, before] = [slot.running.slot.version, manager.state.previous?.version ?? null];
const counted = frames.length;
await until('frames in full', () => frames.length > counted + 60);
const inWindow = ({ atMs }) => windows.some(({ startMs, endMs }) => atMs >= startMs && atMs <= endMs);
const late = (some) => some.filter(({ lateMs }) => lateMs > LATE_MS).length;
const [during, elsewhere] = [frames.filter(inWindow), frames.filter((frame) => !inWindow(frame))];
// A rule breaks with the next frame.
const brokenMs = performance.now();
rules.gate.p99_ms = 1e-6;
await until('the package before serves', () => frames.at(-1).version === before);
const rollbackMs = performance.now() - brokenMs;
const outcome = {
  switches, frames: frames.length, lost_by_switch: frames.reduce((sum, { bySwap }) => sum + bySwap, 0), lost: frames.reduce((sum, { lost }) => sum + lost, 0),
  late_during: late(during), frames_during: during.length, late_elsewhere: late(elsewhere), frames_elsewhere: elsewhere.length,
  rss_first: memory[0], rss_last: memory.at(-1), rollback_ms: rollbackMs, rolled_back: [running, before], code: manager.state.error?.code ?? null, swaps: slot.swaps,
};
await loop.stop();
await manager.stop();
await slot.exchange(null, null);
gallery.close();
close();
process.stdout.write(`${JSON.stringify(outcome)}\n`, () => process.exit(0));
