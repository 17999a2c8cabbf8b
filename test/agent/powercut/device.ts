/**
 * The device of the power-cut tests, in a process of its own: it installs what the folder offers, and dies where STERNA_FAULT says or when it is
 * killed. With `beside` a second pipeline installs that offer at the same time. It says in lines of JSON what it runs first, each phase, what it announces, and how it ended.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { desiredSchema, digest8, type OtaGet } from '../../../agent/contracts/index.js';
import { Trust } from '../../../agent/trust/trust.js';
import { InferenceLoop } from '../../../agent/inference/loop.js';
import { PipelineSlot } from '../../../agent/inference/pipeline-slot.js';
import { OtaManager } from '../../../agent/ota/manager.js';
import { openJournal } from '../../../agent/ota/open-journal.js';
import type { ModelHost, OtaOptions } from '../../../agent/ota/parts.js';
import { PointerFile } from '../../../agent/ota/pointer-file.js';
import { PackageStore } from '../../../agent/ota/store.js';
import { systemBootClock, systemClock } from '../../../agent/platform/clock.js';
import { endForPipeline } from '../../../agent/platform/last-run.js';
import { createLog } from '../../../agent/platform/log.js';
import { FakeRuntime, type FakePackage } from '../support/fake-runtime.js';
import { testRules } from '../support/update-rules.js';
import { answerRequest, chunksOf } from '../support/publisher.js';

const [folder = '', generationText = '1', offer = '', camera = '', beside = ''] = process.argv.slice(2);
const generation = Number(generationText);
const bytes = readFileSync(join(folder, offer));
const fake = JSON.parse(bytes.toString('utf8').split('\n')[0] ?? '') as FakePackage;
const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
/** With a camera, a new package is compared on so many frames. */
const rules = { ...testRules, shadow: { ...testRules.shadow, every: 1, min_samples: 10 } };
const runtime = new FakeRuntime();
runtime.candidateEntry = new URL('../../test/agent/support/fake-candidate.mjs', import.meta.url);
runtime.alwaysApart = process.env['STERNA_TEST_APART'] === '1';
const slot = new PipelineSlot();
const { journal, lastRun, close } = openJournal(folder, systemBootClock().id, (error) => process.stderr.write(`${error.code}\n`));
const blocksAsked: number[] = [];
/** What ran first: must be a package that was accepted before this start. */
let atStart: string | null = null;
let phase = '';

/** What both pipelines do with packages, and how patient they are. */
const packages: Omit<ModelHost, 'serving' | 'switchTo'> = {
  open: (path) => runtime.openModel(path, runtime.gallery, {}),
  describe: (path) => runtime.describePackage(path),
  test: (path, signal) => runtime.testCandidate(path, { timeoutMs: 300_000, memoryBytes: 300_000_000 }, signal),
  shadow: (path) => runtime.openShadow(path),
  peopleLost: () => 0,
  throttled: () => Promise.resolve(false),
};
const updates: OtaOptions = {
  window: 4, stallMs: 10_000, maxStalls: 6, maxPackageBytes: 10_000_000, factory: null, openTimeoutMs: 300_000, journalRetryMs: 1000,
  limits: { max_tries: 3, max_warm_crashes: 2, retry_base_ms: 5, max_crashes: 3, probation_ms: 60_000, max_failed_starts: 3, healthy_ms: 60_000 },
};

const manager: OtaManager = new OtaManager({
  journal: journal.of('main'), lastRun: endForPipeline(lastRun, 'main'), onOpening: (digest) => journal.noteOpening('main', digest), clock: systemClock(), log: createLog('error'),
  store: new PackageStore(join(folder, 'packages')), pointer: new PointerFile(join(folder, 'slots.json')),
  host: {
    ...packages,
    serving: () => (camera === '' ? null : slot.running),
    switchTo: async (model, where) => {
      if (atStart === null) {
        atStart = where?.version ?? 'none';
        say({ atStart });
      }
      await slot.exchange(model, where);
    },
  },
  rules: () => rules,
  link: {
    isConnected: () => true,
    request: (request: OtaGet) => {
      for (const { index, message } of answerRequest(request, bytes)) {
        blocksAsked.push(index);
        if (request.chunks !== undefined) say({ sent: index });
        if (request.list_of !== undefined) say({ list: index });
        setImmediate(() => manager.receiveBlock(digest8(request.digest), index, message));
      }
    },
  },
  onChange: () => {
    trust?.settle('main', manager.state);
    const { progress } = manager;
    if (progress !== null && manager.state.phase === 'downloading') say({ bytes: progress.bytes.done });
    if (manager.state.phase === phase) return;
    phase = manager.state.phase;
    say({ phase });
  },
  onAnnounce: ({ action, package: { version }, error }) => say({ action, version, code: error?.code ?? null }),
  onFault: (error) => process.stderr.write(`${error.code}: ${error.message}\n`),
}, updates);
/** With STERNA_TEST_SIGNED the offer comes in a signed message, as from a broker. */
const signed = process.env['STERNA_TEST_SIGNED'] ?? '';
const trust = signed === '' ? null : Trust.open({
  identity: { fleet: 'test', device: 'door', hardwareId: 'x64' }, unsigned: false, settingsRule: 'both', roots: { image: join(folder, 'image-root.json'), director: join(folder, 'director-root.json') },
}, { journal: journal.trust, clock: systemClock(), onFault: (error) => process.stderr.write(`${error.code}: ${error.message}\n`) });
const loop = new InferenceLoop(slot, systemClock(), {
  input: camera === '' ? null : camera, live: true,
  open: (signal) => runtime.openSource({ input: camera, fps: undefined, loop: false, realtime: true, maxSide: undefined, stallMs: 1000, signal }),
}, { onFrame: (processed) => manager.offer(processed), onIdleFrame: () => undefined, onPipelineError: (_, error) => say({ action: 'pipeline failed', version: '', code: error.code }), onCamera: () => undefined });

/** The second pipeline: a slot, a store and a journal of its own. */
const besideBytes = beside === '' ? null : readFileSync(join(folder, beside));
const besideSlot = new PipelineSlot();
const besideFolder = join(folder, 'pipelines', 'back');
const second: OtaManager | null = besideBytes === null ? null : new OtaManager({
  journal: journal.of('back'), lastRun: endForPipeline(lastRun, 'back'), onOpening: (digest) => journal.noteOpening('back', digest), clock: systemClock(), log: createLog('error'),
  store: new PackageStore(join(besideFolder, 'packages')), pointer: new PointerFile(join(besideFolder, 'slots.json')),
  host: {
    ...packages,
    serving: () => null,
    switchTo: (model, where) => besideSlot.exchange(model, where),
  },
  rules: () => rules,
  link: {
    isConnected: () => true,
    request: (request: OtaGet) => {
      for (const { index, message } of answerRequest(request, besideBytes)) setImmediate(() => second?.receiveBlock(digest8(request.digest), index, message));
    },
  },
  onChange: () => undefined, onAnnounce: () => undefined, onFault: (error) => process.stderr.write(`${error.code}: ${error.message}\n`),
}, updates);

await manager.start();
await second?.start();
const besideAtStart = besideSlot.running?.slot.version ?? null;
loop.start();
const message = signed === '' ? null : desiredSchema.parse(JSON.parse(readFileSync(join(folder, signed), 'utf8')));
if (message === null || trust === null) manager.desire({ generation, package: {
  name: fake.name, version: fake.version, digest: createHash('sha256').update(bytes).digest('hex'), size_bytes: bytes.length, block_bytes: 256, ...(process.env['STERNA_TEST_CHUNKS'] === '1' ? chunksOf(bytes) : {}),
} });
else if (trust.accept('main', message, manager.state)) manager.desire(message);
if (second !== null && besideBytes !== null) {
  const other = JSON.parse(besideBytes.toString('utf8').split('\n')[0] ?? '') as FakePackage;
  second.desire({ generation, package: {
    name: other.name, version: other.version, digest: createHash('sha256').update(besideBytes).digest('hex'), size_bytes: besideBytes.length, block_bytes: 256,
  } });
}
const settled = ({ state }: OtaManager): boolean => state.generation_seen === generation && ['committed', 'rejected', 'rolled_back'].includes(state.phase);
while ((second !== null && !settled(second)) || !(manager.state.generation_seen === generation && ['committed', 'rejected', 'rolled_back'].includes(manager.state.phase) && manager.progress?.pieces.done === manager.progress?.pieces.total)) {
  await new Promise((resolve) => { setTimeout(resolve, 5); });
}
await loop.stop();
await manager.stop();
await second?.stop();
journal.markStopped();
say({
  atStart, running: slot.running?.slot.version ?? null, phase: manager.state.phase, code: manager.state.error?.code ?? null,
  previous: manager.state.previous?.version ?? null, first: Math.min(...blocksAsked), files: readdirSync(join(folder, 'packages')).length, frames: loop.frames,
  beside: { atStart: besideAtStart, running: besideSlot.running?.slot.version ?? null, phase: second?.state.phase ?? null },
});
await slot.exchange(null, null);
await besideSlot.exchange(null, null);
close();
