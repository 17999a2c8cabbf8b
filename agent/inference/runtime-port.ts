import { existsSync } from 'node:fs';
import { decodeImage, encodeJpeg, openSoundSource, openSource } from '../../runtime/media/index.js';
import { openPackage, selfTest, type ModelPackage, type SelfTestReport } from '../../runtime/package/index.js';
import { createGalleryKey, createPipeline, enrolPictures, galleryKeyId, openGallery, readGalleryKey, type GalleryKey, type PipelineOptions } from '../../runtime/pipeline/index.js';
import type { EngineOptions } from '../../runtime/stages/model-stage.js';
import { RuntimeError } from '../../runtime/errors.js';
import type { Config } from '../config/schema.js';
import { findMeters } from '../energy/monitor.js';
import { NetEnergy } from '../energy/net.js';
import { toCodedError, type CodedError } from '../errors.js';
import type { GateReport } from '../ground/package.js';
import type { ShadowCandidate, Vocabulary } from '../ground/shadow.js';
import { hostFiles } from '../platform/host-files.js';
import { readPmic } from '../platform/vcgencmd.js';
import { openAdaptProcess } from './adapt-process.js';
import { testInProcess } from './candidate-process.js';
import { openShadowProcess } from './shadow-process.js';
import type { GalleryKeySource, Model, PipelineOverrides, RuntimePort } from '../ground/runtime.js';

export type RuntimeConfig = Pick<Config, 'pipeline' | 'cache_dir' | 'cache_max_bytes' | 'energy'>;

/** A test runner transforms sources on the fly, so there is no JavaScript file beside this one that Node could start. The built file is used then. */
const entryOf = (name: string): URL => new URL(import.meta.url.endsWith('.ts') ? `../../dist/agent/inference/${name}.js` : `./${name}.js`, import.meta.url);
const [candidateEntry, shadowEntry, adaptEntry] = [entryOf('candidate-main'), entryOf('shadow-main'), entryOf('adapt-main.bundle')];

/** The process that adapts has little memory and no hurry: a small young generation from the start, no second compiler, and no threads of V8, which would free late. */
const adaptFlags = ['--expose-gc', '--max-semi-space-size=1', '--optimize-for-size', '--single-threaded', '--no-incremental-marking', '--no-sparkplug'];

function engineOf({ pipeline, cache_dir, cache_max_bytes }: RuntimeConfig, onWarning: (warning: CodedError) => void): EngineOptions {
  const cache = { dir: cache_dir, maxBytes: cache_max_bytes, onWarning: (warning: RuntimeError) => onWarning(toCodedError(warning)) };
  return { engine: pipeline.engine, threads: pipeline.threads, affinity: pipeline.affinity, ...(cache_max_bytes === 0 ? {} : { cache }) };
}

/**
 * Opens a package's models, runs its golden vectors, and closes them. The process of `testCandidate` calls it.
 * @throws RuntimeError E_PACKAGE*, E_MODEL_*, ...
 */
export async function testPackage(path: string, config: RuntimeConfig, onWarning: (warning: CodedError) => void): Promise<GateReport> {
  const stored = await openPackage(path);
  const energy = new NetEnergy(await findMeters(hostFiles(), { wattsPerCore: config.energy.watts_per_core, readPmic }));
  try {
    await energy.begin();
    const report = await selfTest(stored, { ...engineOf(config, onWarning), energy: () => energy.read() });
    return toGateReport(stored, report, energy.source);
  } finally {
    energy.end();
  }
}

/** Binds the runtime of this repository. `onWarning` reports trouble with the cache of compiled programs, which costs only time. */
export function runtimePort(config: RuntimeConfig, onWarning: (warning: CodedError) => void): RuntimePort {
  const engine = engineOf(config, onWarning);
  const { pipeline, cache_dir, cache_max_bytes, energy } = config;
  return {
    openModel: async (path, gallery, overrides, rules, overlay): Promise<Model> => {
      const stored = await openPackage(path);
      // What reads and writes models is loaded only where thresholds were adapted.
      const modelPackage = overlay === undefined ? stored : (await import('../../runtime/adapt/overlay.js')).withOverlay(stored, overlay);
      const opened = await createPipeline(modelPackage, { ...engine, gallery, ...(rules === undefined ? {} : { rules }), ...toOverrides(overrides) });
      return {
        pipeline: opened,
        vocabulary: vocabularyOf(modelPackage),
        budget: modelPackage.manifest.budget,
        galleryPlan: modelPackage.manifest.gallery_plan ?? null,
        // The package is read again for each test, because its golden vectors would otherwise occupy megabytes of a small device's memory all day.
        selfTest: async () => {
          const stored = await openPackage(path);
          return toGateReport(stored, await selfTest(stored, { ...engine, pipeline: opened }));
        },
      };
    },
    describePackage: async (path) => {
      const { manifest } = await openPackage(path);
      return { name: manifest.name, version: manifest.version };
    },
    testCandidate: (path, limits, signal) => testInProcess({ entry: candidateEntry }, { path, engine: { pipeline, cache_dir, cache_max_bytes, energy } }, limits, signal),
    openShadow: (path, request, limits, signal) => openShadowProcess({ entry: shadowEntry }, { path, engine: { pipeline, cache_dir, cache_max_bytes, energy }, request }, limits, signal),
    openAdapt: (path, limits, signal) => openAdaptProcess({ entry: adaptEntry, flags: adaptFlags }, { path }, limits, signal),
    openGallery: (path, key, onWarning) => openGallery(path, { ...(key === null ? {} : { key: keyFor(path, key) }), ...(onWarning === undefined ? {} : { onWarning }) }),
    enrol: (pipeline, gallery, name, pictures) => enrolPictures(pipeline, gallery, name, pictures),
    openSource: (request) => openSource(request.input, {
      loop: request.loop, realtime: request.realtime, stallMs: request.stallMs, signal: request.signal,
      ...(request.fps === undefined ? {} : { fps: request.fps }),
      ...(request.maxSide === undefined ? {} : { maxSide: request.maxSide }),
    }),
    openSound: ({ input, ...options }) => openSoundSource(input, options),
    decodeImage: (bytes, options) => decodeImage(bytes, 'The picture', options),
    encodeJpeg: (image, options) => encodeJpeg(image, options),
  };
}

/** The budget for a frame that a package's manifest states. @throws RuntimeError E_PACKAGE, E_PACKAGE_VERSION */
export async function budgetOf(path: string): Promise<ShadowCandidate['budget']> {
  const { p99_ms, joules } = (await openPackage(path)).manifest.budget;
  return { p99_ms, ...(joules === undefined ? {} : { joules }) };
}

/** What a package can find. Kinds whose packages name their classes have them in `labels` of their settings. */
function vocabularyOf({ manifest: { pipeline: { kind, settings }, embedding_space_id: embeddingSpaceId } }: ModelPackage): Vocabulary {
  const { labels } = settings;
  return { kind, labels: Array.isArray(labels) ? labels.filter((label) => typeof label === 'string') : [], embeddingSpaceId };
}

function keyFor(gallery: string, { file, create }: GalleryKeySource): GalleryKey {
  if (existsSync(file)) return readGalleryKey(file);
  const needed = galleryKeyId(gallery);
  if (create && needed === null) return createGalleryKey(file);
  const what = needed === null ? 'The gallery has no key' : `The gallery ${gallery} is encrypted with the key ${needed}`;
  throw new RuntimeError('E_GALLERY_KEY', `${what}: the file ${file} does not exist. Put the key back and start again${needed === null ? '' : ', or move the gallery away and enroll everybody again'}. Until then nobody is recognized by name`);
}

function toOverrides({ match_threshold, detect_threshold, tracking, gates, feature_threshold }: PipelineOverrides): Omit<PipelineOptions, keyof EngineOptions | 'gallery'> {
  return {
    ...(match_threshold === undefined ? {} : { matchThreshold: match_threshold }),
    ...(detect_threshold === undefined ? {} : { detectThreshold: detect_threshold }),
    ...(tracking === undefined ? {} : { tracking }),
    ...(gates === false ? { motionGate: false } : {}),
    ...(feature_threshold === undefined ? {} : { featureThreshold: feature_threshold }),
  };
}

function toGateReport({ manifest }: ModelPackage, report: SelfTestReport, source = ''): GateReport {
  return {
    name: manifest.name,
    version: manifest.version,
    memory_bytes: report.memoryBytes,
    golden: report.golden.map(({ stage, output, cosine, maxAbs, passed }) => ({
      name: `${stage}/${output}`, passed, detail: `cosine ${cosine.toFixed(5)}, largest error ${maxAbs.toPrecision(3)}`,
    })),
    p50_ms: report.golden.length === 0 ? null : report.p50Ms,
    p99_ms: report.golden.length === 0 ? null : report.p99Ms,
    energy: report.joules === null ? null : { joules: report.joules, source },
    embedding_space_id: manifest.embedding_space_id,
    gallery_plan: manifest.gallery_plan ?? null,
    budget: manifest.budget,
  };
}
