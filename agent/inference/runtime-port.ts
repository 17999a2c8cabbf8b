import { decodeImage, encodeJpeg, openSource } from '../../runtime/media/index.js';
import { openPackage, selfTest, type ModelPackage, type SelfTestReport } from '../../runtime/package/index.js';
import { createPipeline, enrolPictures, openGallery, type PipelineOptions } from '../../runtime/pipeline/index.js';
import type { RuntimeError } from '../../runtime/errors.js';
import type { Config } from '../config/schema.js';
import { toCodedError, type CodedError } from '../errors.js';
import type { GateReport } from '../ota/gate.js';
import type { Model, PipelineOverrides, RuntimePort } from './ports.js';

/** The runtime of this repository. `onWarning`: trouble with the cache of compiled programs, which costs time only. */
export function runtimePort({ pipeline, cache_dir, cache_max_bytes }: Pick<Config, 'pipeline' | 'cache_dir' | 'cache_max_bytes'>, onWarning: (warning: CodedError) => void): RuntimePort {
  const cache = { dir: cache_dir, maxBytes: cache_max_bytes, onWarning: (warning: RuntimeError) => onWarning(toCodedError(warning)) };
  const engine = { engine: pipeline.engine, threads: pipeline.threads, affinity: pipeline.affinity, ...(cache_max_bytes === 0 ? {} : { cache }) };
  return {
    openModel: async (path, gallery, overrides): Promise<Model> => {
      const modelPackage = await openPackage(path);
      const pipeline = await createPipeline(modelPackage, { ...engine, gallery, ...toOverrides(overrides) });
      return {
        pipeline,
        // Read again when needed: the golden vectors are not worth megabytes of a small device's memory all day.
        selfTest: async () => {
          const stored = await openPackage(path);
          return toGateReport(stored, await selfTest(stored, { ...engine, pipeline }));
        },
      };
    },
    openGallery,
    enrol: (pipeline, gallery, name, pictures) => enrolPictures(pipeline, gallery, name, pictures),
    openSource: (request) => openSource(request.input, {
      loop: request.loop, realtime: request.realtime, stallMs: request.stallMs, signal: request.signal,
      ...(request.fps === undefined ? {} : { fps: request.fps }),
      ...(request.maxSide === undefined ? {} : { maxSide: request.maxSide }),
    }),
    decodeImage: (bytes, options) => decodeImage(bytes, 'The picture', options),
    encodeJpeg: (image) => encodeJpeg(image),
  };
}

function toOverrides({ match_threshold, detect_threshold }: PipelineOverrides): Pick<PipelineOptions, 'matchThreshold' | 'detectThreshold'> {
  return {
    ...(match_threshold === undefined ? {} : { matchThreshold: match_threshold }),
    ...(detect_threshold === undefined ? {} : { detectThreshold: detect_threshold }),
  };
}

function toGateReport({ manifest }: ModelPackage, report: SelfTestReport): GateReport {
  return {
    name: manifest.name,
    version: manifest.version,
    memory_bytes: report.memoryBytes,
    golden: report.golden.map(({ stage, output, cosine, maxAbs, passed }) => ({
      name: `${stage}/${output}`, passed, detail: `cosine ${cosine.toFixed(5)}, largest error ${maxAbs.toPrecision(3)}`,
    })),
    p50_ms: report.golden.length === 0 ? null : report.p50Ms,
    p99_ms: report.golden.length === 0 ? null : report.p99Ms,
    budget: manifest.budget,
  };
}
