import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AnySample, FrameSource, Image, SoundSource } from '../../../runtime/frame.js';
import { RuntimeError } from '../../../runtime/errors.js';
import type { FindingRules } from '../../../runtime/vision/zones/settings.js';
import type { Finding, Gallery, Person, Pipeline, PipelineResult } from '../../../runtime/pipeline/types.js';
import { testInProcess } from '../../../agent/inference/candidate-process.js';
import type { ShadowCandidate, ShadowSample, Vocabulary } from '../../../agent/ground/shadow.js';
import { AgentError } from '../../../agent/errors.js';
import { CandidateError, type CandidateLimits, type Model, type PipelineOverrides, type RuntimePort, type SoundRequest, type SourceRequest } from '../../../agent/ground/runtime.js';
import type { GateReport } from '../../../agent/ground/package.js';

/** What a fake package says about itself; the rest of the file is padding. */
export interface FakePackage {
  name: string;
  version: string;
  /** Whether its golden vectors pass; null: it has none. */
  golden?: boolean | null;
  /** Of an inference. */
  joules?: number;
  memory?: number;
  p99?: number;
  space?: string;
  /** For people of another space. */
  plan?: 're-embed' | 'enroll';
  /** The process that tests it is killed from outside. */
  kills?: boolean;
  /** The process that tests it aborts, as a bad native program would. */
  crashes?: boolean;
  /** Its test never comes back to the event loop. */
  spins?: boolean;
  /** Its test takes all the memory that it can get. */
  eats?: boolean;
  /** It listens. */
  listens?: { rate: number; step: number };
  /** Every frame fails. */
  fails?: boolean;
  /** The daemon never gets it open, after its test has passed. */
  hangs?: boolean;
  /** What it finds beside the serving package; absent: what every pipeline finds. */
  sees?: Finding[];
  /** Of a frame beside the serving package; absent: 1. */
  shadowMs?: number;
  /** Every frame fails beside the serving package. */
  shadowFails?: boolean;
  /** Its process ends at the first frame beside the serving package. */
  shadowCrashes?: boolean;
  kind?: string;
  labels?: string[];
  padding?: number;
}

export function packageBytes(fake: FakePackage): Buffer {
  const head = Buffer.from(`${JSON.stringify(fake)}\n`);
  const padding = Buffer.alloc(fake.padding ?? 1000);
  for (let i = 0; i < padding.length; i++) padding[i] = (i * 31) & 0xff;
  return Buffer.concat([head, padding]);
}

function readFake(path: string): Promise<FakePackage> {
  const text = readFileSync(path, 'utf8').split('\n')[0] ?? '';
  return text.startsWith('{') ? Promise.resolve(JSON.parse(text) as FakePackage) : Promise.reject(new RuntimeError('E_PACKAGE', 'not a package'));
}

function reportOf(fake: FakePackage): GateReport {
  return {
    name: fake.name, version: fake.version, memory_bytes: fake.memory ?? 1000, p50_ms: 1, p99_ms: fake.p99 ?? 1,
    golden: fake.golden === null ? [] : [{ name: 'detector/out', passed: fake.golden !== false, detail: 'cosine 0.5' }],
    energy: fake.joules === undefined ? null : { joules: fake.joules, source: 'cpu_model/process' }, embedding_space_id: fake.space ?? 'space-1', gallery_plan: fake.plan ?? null, budget: { ram_bytes: 10_000, p99_ms: 10, joules: 2 },
  };
}

function vocabularyOf({ kind = 'face-recognition', labels = [], space = 'space-1' }: FakePackage): Vocabulary {
  return { kind, labels, embeddingSpaceId: space };
}

/** What Node starts to test a fake package. */
export const fakeCandidate = new URL('./fake-candidate.mjs', import.meta.url);

export class FakeRuntime implements RuntimePort {
  /** Pipelines that are open now. */
  open = 0;
  tested = 0;
  /** Tests every candidate in a process of its own, which writes its number to this file. */
  alwaysApart = false;
  candidatePidFile = '';
  candidateEntry = fakeCandidate;
  opened: { version: string; overrides: PipelineOverrides }[] = [];
  findings: Finding[] = [];
  /** Rules that pipelines were opened with or given, newest last. */
  rules: FindingRules[] = [];
  processMs = 0;
  frameMs = 5;
  sourceError: Error | null = null;
  /** Inputs that deliver nothing any more, and cannot be opened. */
  readonly lost = new Set<string>();
  /** The source neither delivers nor ends, whatever its signal says. */
  sourceHangs = false;
  /** Reads that hang. */
  hanging = 0;
  /** Frames until the source ends; null: it goes on. */
  frames: number | null = null;
  readonly gallery = new FakeGallery();

  async openModel(path: string, _gallery: Gallery, overrides: PipelineOverrides, rules: FindingRules = {}): Promise<Model> {
    const fake = await readFake(path);
    if (fake.hangs === true) await sleep(60_000, undefined, { ref: false });
    this.open += 1;
    this.opened.push({ version: fake.version, overrides });
    this.rules.push(rules);
    const pipeline = this.#pipeline(fake);
    return {
      pipeline,
      vocabulary: vocabularyOf(fake),
      galleryPlan: fake.plan ?? null,
      selfTest: () => Promise.resolve(reportOf(fake)),
    };
  }

  async describePackage(path: string): Promise<{ name: string; version: string }> {
    const { name, version } = await readFake(path);
    return { name, version };
  }

  /** Most packages are tested here, which is quick; one that ends its process, or never ends, in a process of its own. */
  async testCandidate(path: string, limits: CandidateLimits, signal: AbortSignal): Promise<GateReport> {
    this.tested += 1;
    const fake = await readFake(path);
    const bad = fake.kills === true || fake.crashes === true || fake.spins === true || fake.eats === true;
    return bad || this.alwaysApart ? testInProcess({ entry: this.candidateEntry, args: [this.candidatePidFile] }, { path, engine: null }, limits, signal) : reportOf(fake);
  }

  /** Shadows that are open now. */
  shadows = 0;
  /** Frames that were given to shadows. */
  shadowed = 0;
  /** Holds every answer of a shadow back until it resolves. */
  shadowGate: Promise<void> = Promise.resolve();

  async openShadow(path: string): Promise<ShadowCandidate> {
    const fake = await readFake(path);
    this.shadows += 1;
    let open = true;
    return {
      vocabulary: vocabularyOf(fake), budget: { p99_ms: 10, joules: 2 }, sound: fake.listens ?? null,
      process: async (): Promise<ShadowSample> => {
        this.shadowed += 1;
        await this.shadowGate;
        if (fake.shadowCrashes === true) throw new AgentError('E_OTA_GATE_CRASH', 'its process ended');
        if (fake.shadowFails === true) throw new CandidateError('E_INPUT', 'a frame that it does not like');
        const ms = fake.shadowMs ?? 1;
        return { findings: fake.sees ?? this.findings, totalMs: ms, cpuMs: ms, joules: fake.joules ?? 0.01 };
      },
      close: () => {
        if (open) this.shadows -= 1;
        open = false;
      },
    };
  }

  #pipeline(fake: FakePackage): Pipeline {
    let closed = false;
    return {
      name: fake.name, version: fake.version, embeddingSpaceId: fake.space ?? 'space-1', memoryBytes: fake.memory ?? 1000,
      ...(fake.listens === undefined ? {} : { sound: { ...fake.listens, deadlineMs: 250 } }),
      process: async (frame: AnySample): Promise<PipelineResult> => {
        if (closed) throw new Error('used after close');
        await sleep(this.processMs);
        if (closed) throw new Error('closed while it worked');
        if (fake.fails === true) throw new RuntimeError('E_INPUT', 'a frame that it does not like');
        return { sequence: frame.sequence, capturedMs: frame.capturedMs, findings: this.findings, exit: 'full', cells: null, audit: false, stages: [{ stage: 'detect', ms: 1 }], totalMs: 1 };
      },
      setRules: (changed) => { this.rules.push(changed); },
      embed: () => Promise.resolve([]),
      withStages: (work) => work({}),
      rehearse: () => Promise.resolve(),
      close: () => {
        if (!closed) this.open -= 1;
        closed = true;
        return Promise.resolve();
      },
    };
  }

  openGallery(): Gallery {
    return this.gallery;
  }

  async enrol(pipeline: Pipeline, gallery: Gallery, name: string, pictures: AsyncIterable<Image> | Iterable<Image>): ReturnType<RuntimePort['enrol']> {
    let count = 0;
    for await (const _picture of pictures) count++;
    const person = gallery.enrol(name, Array.from({ length: count }, () => new Float32Array(4)), pipeline.embeddingSpaceId ?? '');
    return { person, pictures: count, skipped: {} };
  }

  openSource(request: SourceRequest): FrameSource {
    const error = this.sourceError;
    if (error !== null) throw error;
    const lost = (): boolean => this.lost.has(request.input);
    if (lost()) throw new RuntimeError('E_MEDIA', `${request.input} cannot be opened`);
    const frames = this.frames;
    const frameMs = this.frameMs;
    const hangs = (): boolean => {
      if (this.sourceHangs) this.hanging += 1;
      return this.sourceHangs;
    };
    return {
      dropped: 0,
      async *[Symbol.asyncIterator]() {
        for (let sequence = 0; (frames === null || sequence < frames) && !request.signal.aborted; sequence++) {
          if (lost()) throw new RuntimeError('E_MEDIA', `${request.input} is gone`);
          yield { sequence, capturedMs: performance.now(), width: 2, height: 2, data: new Uint8Array(12) };
          if (hangs()) await new Promise(() => undefined);
          await sleep(frameMs, undefined, { signal: request.signal }).catch(() => undefined);
        }
      },
    };
  }

  /** Requests for sound, newest last. */
  readonly sounds: SoundRequest[] = [];
  /** What the clocks of microphones are like. */
  clock: SoundSource['clock'] = null;

  openSound(request: SoundRequest): SoundSource {
    this.sounds.push(request);
    const { rate, step, signal, input } = request;
    if (this.lost.has(input)) throw new RuntimeError('E_MEDIA', `${input} cannot be opened`);
    const lost = (): boolean => this.lost.has(input);
    const clock = (): SoundSource['clock'] => this.clock;
    return {
      dropped: 0,
      get clock() { return clock(); },
      async *[Symbol.asyncIterator]() {
        for (let sequence = 0; !signal.aborted; sequence++) {
          if (lost()) throw new RuntimeError('E_MEDIA', `${input} is gone`);
          yield { sequence, capturedMs: performance.now(), rate, samples: new Float32Array(step) };
          await sleep(5, undefined, { signal }).catch(() => undefined);
        }
      },
    };
  }

  decodeImage(bytes: Uint8Array): Promise<Image> {
    if (bytes[0] !== 0xff) return Promise.reject(new RuntimeError('E_MEDIA', 'not a picture'));
    return Promise.resolve({ width: 1, height: 1, data: new Uint8Array(3) });
  }

  encodeJpeg(): Promise<Uint8Array> {
    return Promise.resolve(Uint8Array.of(0xff, 0xd8));
  }
}

export class FakeGallery implements Gallery {
  people: Person[] = [];
  closed = false;

  enrol(name: string, embeddings: readonly Float32Array[], embeddingSpaceId: string): Person {
    const person = { id: this.people.length + 1, name, samples: embeddings.length, embeddingSpaceId, createdMs: 1 };
    this.people.push(person);
    return person;
  }

  list(): Person[] {
    return this.people;
  }

  remove(id: number): boolean {
    const before = this.people.length;
    this.people = this.people.filter((person) => person.id !== id);
    return this.people.length < before;
  }

  match(): null {
    return null;
  }

  nearest(): never[] {
    return [];
  }

  close(): void {
    this.closed = true;
  }
}
