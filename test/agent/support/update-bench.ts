import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { digest8, type OtaGet } from '../../../agent/contracts/index.js';
import type { Slot } from '../../../agent/ground/package.js';
import type { Model } from '../../../agent/ground/runtime.js';
import type { UpdateRules } from '../../../agent/ground/update-rules.js';
import { PipelineSlot } from '../../../agent/inference/pipeline-slot.js';
import { Journal } from '../../../agent/ota/journal.js';
import { OtaManager } from '../../../agent/ota/manager.js';
import type { Announcement, OtaOptions, OtaParts } from '../../../agent/ota/parts.js';
import type { PipelineJournal } from '../../../agent/ota/pipeline-journal.js';
import { PointerFile } from '../../../agent/ota/pointer-file.js';
import { PackageStore } from '../../../agent/ota/store.js';
import { systemClock } from '../../../agent/platform/clock.js';
import { openDatabase, type Sqlite } from '../../../agent/platform/database.js';
import { FakeRuntime } from './fake-runtime.js';
import { answerRequest } from './publisher.js';
import { quietLog, until } from './tools.js';
import { testRules } from './update-rules.js';

/** Short times, so that tests need not wait. */
export const options: OtaOptions = {
  window: 4, stallMs: 2000, maxStalls: 3, maxPackageBytes: 1_000_000, factory: null, openTimeoutMs: 5000, journalRetryMs: 20,
  limits: { max_tries: 3, max_warm_crashes: 2, retry_base_ms: 1, max_crashes: 3, probation_ms: 60_000, max_failed_starts: 3, healthy_ms: 60_000 },
};

/** How the other end answers a request; by default as it should. */
export type Answer = (request: OtaGet, send: (index: number, message: Buffer) => void) => void;

/** Updates of one pipeline on the fake runtime. It ends with its test. */
export class Bench {
  readonly folder: string;
  readonly runtime = new FakeRuntime();
  readonly slot = new PipelineSlot();
  readonly db: Sqlite;
  readonly device: Journal;
  readonly journal: PipelineJournal;
  readonly manager: OtaManager;
  readonly announcements: Announcement[] = [];
  readonly faults: string[] = [];
  /** Codes of faults since everything was on the disk last. */
  readonly lasting = new Set<string>();
  readonly requests: OtaGet[] = [];
  readonly settings: object[] = [];
  answer: Answer;
  connected = true;
  beforeCollect = (): Promise<void> => Promise.resolve();
  beforeSwitch = (): Promise<void> => Promise.resolve();
  limits = { timeoutMs: 20_000, memoryBytes: 200_000_000 };
  rules: UpdateRules = testRules;
  /** Whether frames come. */
  camera = false;
  hot = false;

  constructor(folder: string, packages: readonly Buffer[], over: Partial<OtaOptions> = {}, lastRun: Partial<OtaParts['lastRun']> = {}) {
    this.folder = folder;
    this.answer = honest(packages);
    this.db = openDatabase(join(folder, 'state.db'), { durability: 'full' });
    this.device = new Journal(this.db);
    this.journal = this.device.of('main');
    const store = new PackageStore(join(folder, 'packages'));
    const collect = store.collect.bind(store);
    store.collect = (keep, keepPartial) => this.beforeCollect().then(() => collect(keep, keepPartial));
    this.manager = new OtaManager({
      journal: this.journal, store, clock: systemClock(), log: quietLog,
      pointer: new PointerFile(join(folder, 'slots.json')), lastRun: { ended: 'clean', opening: null, ...lastRun },
      host: {
        describe: (path) => this.runtime.describePackage(path),
        test: (path, signal) => this.runtime.testCandidate(path, this.limits, signal),
        shadow: (path) => this.runtime.openShadow(path),
        peopleLost: (space) => this.runtime.gallery.people.filter((person) => person.embeddingSpaceId !== space).length,
        throttled: () => Promise.resolve(this.hot),
        serving: () => (this.camera ? this.slot.running : null),
        open: (path): Promise<Model> => this.runtime.openModel(path, this.runtime.gallery, {}),
        switchTo: (model: Model | null, slot: Slot | null) => this.beforeSwitch().then(() => this.slot.exchange(model, slot)),
      },
      rules: () => this.rules,
      link: {
        isConnected: () => this.connected,
        request: (request) => {
          this.requests.push(request);
          this.answer(request, (index, message) => setImmediate(() => this.manager.receiveBlock(digest8(request.digest), index, message)));
        },
      },
      onChange: () => undefined,
      onAnnounce: (announcement) => this.announcements.push(announcement),
      onFault: (error) => {
        this.faults.push(error.code);
        this.lasting.add(error.code);
      },
      onWritten: () => this.lasting.clear(),
      onSettings: (settings) => this.settings.push(settings),
    }, { ...options, ...over });
    onTestFinished(() => this.end());
  }

  async settle(generation: number): Promise<void> {
    await until(`generation ${generation} at rest`, () => {
      const { phase, generation_seen } = this.manager.state;
      return generation_seen === generation && ['idle', 'committed', 'rejected', 'rolled_back'].includes(phase);
    });
    await until('announced', () => this.announcements.length > 0);
  }

  async end(): Promise<void> {
    await this.manager.stop();
    await this.slot.exchange(null, null);
    if (this.db.open) this.db.close();
  }
}

export function honest(packages: readonly Buffer[]): Answer {
  const byDigest = new Map(packages.map((bytes) => [createHash('sha256').update(bytes).digest('hex'), bytes]));
  return (request, send) => {
    const bytes = byDigest.get(request.list_of ?? request.digest);
    if (bytes !== undefined) for (const { index, message } of answerRequest(request, bytes)) send(index, message);
  };
}
