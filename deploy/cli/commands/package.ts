import { InvalidArgumentError, Option, type Command } from 'commander';
import { openSource } from '../../../runtime/media/source.js';
import { openPackage } from '../../../runtime/package/package.js';
import { selfTest, type SelfTestReport } from '../../../runtime/package/self-test.js';
import { formats, type Format } from '../../../runtime/quantize/formats/grids.js';
import type { QuantizeOptions, QuantizeReport } from '../../../runtime/quantize/quantize.js';
import type { EngineName } from '../../../runtime/session-types.js';
import { warningTexts } from '../../compress/warnings.js';
import { DeployError } from '../../errors.js';
import { kindOf, kinds } from '../../../runtime/kinds/registry.js';
import { buildPipelinePackage, type PipelinePackageOptions } from '../../package/build.js';
import { compressStages, type CompressedStages } from '../../package/compress.js';
import type { StageModels } from '../../package/describe.js';
import { readInputFile, writeOutputFile } from '../files.js';
import { engineOption, integer, positive } from '../options.js';
import { exitCodes, log, reporting } from '../output.js';
import { quantizeProgress, stageProgress, type StageProgress } from '../stage-progress.js';
import { formatBytes } from '../table.js';

interface PackageOptions {
  kind: string;
  /** Model files by stage. */
  stage: Readonly<Record<string, string>>;
  detector?: string;
  landmarks?: string;
  embedder?: string;
  name: string;
  packageVersion: string;
  releaseCounter: number;
  embeddingSpace?: string;
  settings?: string;
  calibrate?: string;
  format?: Format;
  maxDrop?: number;
  stages?: string[];
  edges?: boolean;
  depthwise?: boolean;
  golden?: string;
  ramBudget?: number;
  p99Budget?: number;
  engine: EngineName;
  output: string;
}

/** `--detector FILE` is short for `--stage detector=FILE`, and so on. */
async function readModels({ kind, stage, detector, landmarks, embedder }: PackageOptions): Promise<StageModels> {
  const short = Object.entries({ detector, landmarks, embedder }).filter((entry): entry is [string, string] => entry[1] !== undefined);
  const paths = { ...Object.fromEntries(short), ...stage };
  const { roles } = kindOf(kind);
  const missing = Object.keys(roles).filter((name) => roles[name]?.optional !== true && paths[name] === undefined);
  if (missing.length > 0) {
    const wanted = missing.map((name) => `--stage ${name}=FILE (${roles[name]?.what ?? name})`).join(', ');
    throw new DeployError('E_USAGE', `Expected ${wanted} for a ${kind} pipeline`);
  }
  const models: Record<string, Uint8Array> = {};
  for (const [name, path] of Object.entries(paths)) models[name] = await readInputFile(path);
  return models;
}

function stageArgument(text: string, previous: Readonly<Record<string, string>>): Record<string, string> {
  const at = text.indexOf('=');
  if (at < 1 || at === text.length - 1) throw new InvalidArgumentError(`Expected NAME=FILE but received ${text}`);
  return { ...previous, [text.slice(0, at)]: text.slice(at + 1) };
}

async function readJson(path: string): Promise<unknown> {
  const bytes = await readInputFile(path);
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch (cause) {
    throw new DeployError('E_USAGE', `${path} is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

/**
 * The models as they are packed: as given, or quantized on pictures.
 * @throws DeployError E_USAGE for a format without pictures
 */
async function modelsToPack(options: PackageOptions, overrides: unknown, view: StageProgress): Promise<CompressedStages> {
  const { calibrate, stages, format, maxDrop, edges, depthwise, engine } = options;
  const models = await readModels(options);
  if (calibrate !== undefined) {
    const given = Object.entries({ format, maxDrop, edges, depthwise }).filter(([, value]) => value !== undefined);
    const quantize: QuantizeOptions = { engine, ...Object.fromEntries(given) };
    const which = stages === undefined ? {} : { stages };
    return compressStages(options.kind, models, openSource(calibrate, { fps: 1 }), {
      overrides, quantize, record: { engine }, ...which,
      onPicture: (count) => view.update('running the calibration pictures through the pipeline', count, null),
      onProgress: (stage) => quantizeProgress(view, { prefix: `${stage}: ` }),
    });
  }
  if ([stages, format, maxDrop, edges, depthwise].some((value) => value !== undefined)) {
    throw new DeployError('E_USAGE', 'Expected --calibrate with --stages, --format, --max-drop, --edges or --depthwise: without pictures, the models are packaged unchanged');
  }
  return { models, reports: {}, calibration: [] };
}

async function packageOptions(options: PackageOptions): Promise<PipelinePackageOptions> {
  const { name, packageVersion, releaseCounter, embeddingSpace, settings, golden, ramBudget, p99Budget, engine } = options;
  return {
    name, version: packageVersion, releaseCounter, engine: { engine },
    ...(embeddingSpace === undefined ? {} : { embeddingSpaceId: embeddingSpace }),
    ...(settings === undefined ? {} : { overrides: await readJson(settings) }),
    ...(golden === undefined ? {} : { goldenPictures: openSource(golden, { fps: 1 }) }),
    budget: { ...(ramBudget === undefined ? {} : { ram_bytes: ramBudget }), ...(p99Budget === undefined ? {} : { p99_ms: p99Budget }) },
  };
}

interface Packed {
  reports: CompressedStages['reports'];
  built: Awaited<ReturnType<typeof buildPipelinePackage>>;
  test: SelfTestReport;
}

async function packAndTest(options: PackageOptions, settings: PipelinePackageOptions, view: StageProgress): Promise<Packed> {
  const { models, reports, calibration } = await modelsToPack(options, settings.overrides, view);
  view.update('recording golden vectors', 0, null);
  const built = await buildPipelinePackage(options.kind, models, { ...settings, calibration });
  await writeOutputFile(options.output, built.bytes);
  view.update('testing the package on this machine', 0, null);
  return { reports, built, test: await selfTest(await openPackage(built.bytes), { engine: options.engine }) };
}

function describeTest({ passed, failures, worstCosine, p50Ms, p99Ms, memoryBytes }: SelfTestReport): string {
  const verdict = passed ? 'passed' : `FAILED: ${failures.join('; ')}`;
  return `self-test ${verdict} (worst cosine ${worstCosine.toFixed(5)}, p50 ${p50Ms.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms, ${formatBytes(memoryBytes)} of memory)`;
}

function describeStage(stage: string, { input_bytes, output_bytes, low_bit_macs, weight_bits, output_cosine }: QuantizeReport): string {
  const low = `${(100 * low_bit_macs).toFixed(0)} % of the multiply-adds below int8, ${weight_bits.toFixed(1)} bits a weight`;
  return `${stage}: ${formatBytes(input_bytes)} -> ${formatBytes(output_bytes)}, ${low}, mean cosine to float32 ${output_cosine.toFixed(5)}`;
}

/** Every kind with its stages. */
function stageHelp(): string {
  return kinds.map(({ name, roles }) => `${name}: ${Object.entries(roles).map(([stage, role]) => `${stage} (${role.what})`).join(', ')}`).join('. ');
}

export function register(program: Command): void {
  program
    .command('package')
    .summary('pack models into a .sterna package')
    .description('Packages the models of a pipeline with their settings and golden vectors. It records the golden vectors by running the models here, and tests the package on this CPU.')
    .addOption(new Option('--kind <kind>', 'kind of pipeline').choices(kinds.map((kind) => kind.name)).default('face-recognition'))
    .option('--stage <name=onnx>', `model of a stage; may be repeated. ${stageHelp()}`, stageArgument, {})
    .option('--detector <onnx>', 'short for --stage detector=...')
    .option('--landmarks <onnx>', 'short for --stage landmarks=...')
    .option('--embedder <onnx>', 'short for --stage embedder=...')
    .requiredOption('--name <name>', 'lower-case letters, digits and "-"')
    .requiredOption('--package-version <semver>', 'such as 1.2.0')
    .option('--release-counter <n>', 'a number that grows with every release; devices refuse a lower one', integer(0), 0)
    .option('--embedding-space <id>', 'identifies which embeddings can be compared: keep it if only the quantization of the embedder changes; default: derived from the hash of the embedder')
    .option('--settings <json>', "replaces defaults of the manifest's pipeline section, field by field")
    .option('--calibrate <source>', 'pictures or a video with typical content: the models are quantized and calibrated on them; default: the models are packaged unchanged')
    .option('--stages <list>', 'with --calibrate: stages to quantize, separated by commas (default: those that the kind of pipeline quantizes; detector,embedder for face-recognition)', (text: string) => text.split(','))
    .addOption(new Option('--format <format>', 'with --calibrate: number format; default int8').choices(formats))
    .option('--max-drop <x>', 'with --calibrate: the mean cosine of the outputs may drop by at most x: sensitive layers stay int8; default 0.012 (w46, w4a8), 0.035 (int4)', positive)
    .option('--edges', 'with --calibrate: also use the format for the first and last layers')
    .option('--depthwise', 'with --calibrate: also use the format for depthwise convolutions')
    .option('--golden <source>', 'pictures or a video to record golden vectors from (they become part of the package); default: a generated pattern')
    .option('--ram-budget <bytes>', 'a device refuses the package if its models need more memory', integer(1))
    .option('--p99-budget <ms>', 'a device refuses the package if the p99 of its self-test is higher', Number)
    .addOption(engineOption('--engine <engine>', 'engine that runs the calibration and records the golden vectors').default('native'))
    .requiredOption('-o, --output <out.sterna>', 'where the package goes')
    .action(reporting(async (self, options: PackageOptions) => {
      const settings = await packageOptions(options);
      const view = stageProgress(self);
      const { reports, built: { manifest, bytes, sha256 }, test } = await packAndTest(options, settings, view).finally(() => view.clear());
      const quantized = Object.entries(reports);
      for (const [stage, { warnings }] of quantized) for (const text of warningTexts(warnings)) log(self, `sterna: warning: ${stage}: ${text}`);
      const json = {
        output: options.output, name: manifest.name, version: manifest.version, sha256, bytes: bytes.length,
        files: manifest.files, embedding_space_id: manifest.embedding_space_id,
        quantized: Object.fromEntries(quantized.map(([stage, { output_cosine, low_bit_macs }]) => [stage, { output_cosine, low_bit_macs }])),
        self_test: { passed: test.passed, failures: test.failures, worst_cosine: test.worstCosine, worst_max_abs: test.worstMaxAbs, p50_ms: test.p50Ms, p99_ms: test.p99Ms, memory_bytes: test.memoryBytes },
      };
      const text = [
        ...quantized.map(([stage, report]) => describeStage(stage, report)),
        `${manifest.name} ${manifest.version}: ${manifest.files.length} files, ${formatBytes(bytes.length)}, written to ${options.output}`,
        `sha256 ${sha256}`, describeTest(test),
      ].join('\n');
      return { json, text, exitCode: test.passed ? exitCodes.ok : exitCodes.failed };
    }));
}
