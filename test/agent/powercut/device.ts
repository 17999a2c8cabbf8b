/** The device of the power-cut test, in a process of its own: it installs what the folder offers, and dies where STERNA_FAULT says. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { digest8, type OtaGet } from '../../../agent/contracts/index.js';
import { PipelineSlot } from '../../../agent/inference/pipeline-slot.js';
import { Journal } from '../../../agent/ota/journal.js';
import { OtaManager } from '../../../agent/ota/manager.js';
import { PackageStore } from '../../../agent/ota/store.js';
import { systemClock } from '../../../agent/platform/clock.js';
import { openDatabase } from '../../../agent/platform/database.js';
import { createLog } from '../../../agent/platform/log.js';
import { FakeRuntime, type FakePackage } from '../support/fake-runtime.js';
import { answerRequest } from '../support/publisher.js';
import { createHash } from 'node:crypto';

const [folder = '', generationText = '1', offer = ''] = process.argv.slice(2);
const generation = Number(generationText);
const bytes = readFileSync(join(folder, offer));
const fake = JSON.parse(bytes.toString('utf8').split('\n')[0] ?? '') as FakePackage;
const runtime = new FakeRuntime();
const slot = new PipelineSlot();
const db = openDatabase(join(folder, 'state.db'), { durability: 'full' });
const journal = new Journal(db);
const blocksAsked: number[] = [];
/** What ran first: must be a package that was accepted before this start. */
let atStart: string | null = null;

const manager: OtaManager = new OtaManager({
  journal, store: new PackageStore(join(folder, 'packages')), clock: systemClock(), log: createLog('error'),
  host: { open: (path) => runtime.openModel(path, runtime.gallery, {}), switchTo: (model, where) => { atStart ??= where?.version ?? 'none'; return slot.exchange(model, where); } },
  link: {
    isConnected: () => true,
    request: (request: OtaGet) => {
      for (const { index, message } of answerRequest(request, bytes)) {
        blocksAsked.push(index);
        setImmediate(() => manager.receiveBlock(digest8(request.digest), index, message));
      }
    },
  },
  onChange: () => undefined, onAnnounce: () => undefined, onFault: (error) => process.stderr.write(`${error.code}\n`),
}, {
  window: 4, stallMs: 1000, maxStalls: 3, maxPackageBytes: 10_000_000, warmTimeoutMs: 10_000, journalRetryMs: 1000,
  limits: { max_tries: 3, max_warm_attempts: 2, max_crashes: 100, probation_ms: 60_000 },
});

await manager.start();
manager.desire({ generation, package: {
  name: fake.name, version: fake.version, digest: createHash('sha256').update(bytes).digest('hex'), size_bytes: bytes.length, block_bytes: 256,
} });
while (!(manager.state.generation_seen === generation && ['committed', 'rejected', 'rolled_back'].includes(manager.state.phase) && manager.progress.done === manager.progress.total)) {
  await new Promise((resolve) => { setTimeout(resolve, 5); });
}
await manager.stop();
process.stdout.write(`${JSON.stringify({
  atStart, running: slot.running?.slot.version ?? null, phase: manager.state.phase, code: manager.state.error?.code ?? null,
  previous: manager.state.previous?.version ?? null, first: Math.min(...blocksAsked), files: readdirSync(join(folder, 'packages')).length,
})}\n`);
await slot.exchange(null, null);
db.close();
