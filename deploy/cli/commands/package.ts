import { basename, extname } from 'node:path';
import { InvalidArgumentError, Option, type Command } from 'commander';
import type { AudioChunk, Image } from '../../../runtime/frame.js';
import { stated } from '../../../runtime/options.js';
import { openSoundSource } from '../../../runtime/media/sound.js';
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
import { merge, type StageModels } from '../../package/describe.js';
import type { VariantPlan } from '../../package/variants.js';
import { prepareModel } from '../../run/open.js';
import { modelKinds, type ModelKind } from '../../run/recognize.js';
import { readModelInput, readJson, writeOutputFile } from '../files.js';
import { addModelOptions, modelOptions, statedOptions, type ModelArguments } from '../model-options.js';
import { engineOption, integer, positive } from '../options.js';
import { exitCodes, log, reporting } from '../output.js';
import { quantizeProgress, stageProgress, type StageProgress } from '../stage-progress.js';
import { formatBytes } from '../table.js';

interface PackageOptions extends Omit<ModelArguments, 'kind'> {
  kind?: string;
  /** Model files by stage. */
  stage: Readonly<Record<string, string>>;
  /** Model files by variant. */
  variant: Readonly<Record<string, string>>;
  variantPictures?: string;
  detector?: string;
  landmarks?: string;
  liveness?: string;
  embedder?: string;
  name?: string;
  packageVersion?: string;
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
  energyBudget?: number;
  galleryPlan?: 're-embed' | 'enroll';
  engine: EngineName;
  output?: string;
}

/** What is packed, and under which names. */
interface Plan {
  kind: string;
  models: StageModels;
  settings: PipelinePackageOptions;
  output: string;
}

const defaultKind = 'face-recognition';

const stagePaths = ({ stage, detector, landmarks, liveness, embedder }: PackageOptions): Record<string, string> => {
  const short = Object.entries({ detector, landmarks, liveness, embedder }).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return { ...Object.fromEntries(short), ...stage };
};

/** `--detector FILE` is short for `--stage detector=FILE`, and so on. */
async function readModels(kind: string, options: PackageOptions): Promise<StageModels> {
  const paths = stagePaths(options);
  const { roles } = kindOf(kind);
  const missing = Object.keys(roles).filter((name) => roles[name]?.optional !== true && paths[name] === undefined);
  if (missing.length > 0) {
    const wanted = missing.map((name) => `--stage ${name}=FILE (${roles[name]?.what ?? name})`).join(', ');
    throw new DeployError('E_USAGE', `Expected ${wanted} for a ${kind} pipeline`);
  }
  const models: Record<string, Uint8Array> = {};
  for (const [name, path] of Object.entries(paths)) models[name] = await readModelInput(path);
  return models;
}

function stageArgument(text: string, previous: Readonly<Record<string, string>>): Record<string, string> {
  const at = text.indexOf('=');
  if (at < 1 || at === text.length - 1) throw new InvalidArgumentError(`Expected NAME=FILE but received ${text}`);
  return { ...previous, [text.slice(0, at)]: text.slice(at + 1) };
}

/**
 * Variants of a pipeline: each file is a cheaper network for the stage that the kind may vary.
 * @throws DeployError E_USAGE when the kind has no variants, or no pictures show what they cost
 */
async function variantOptions(kind: string, { variant, variantPictures, calibrate, golden, ...options }: PackageOptions, plan: Pick<Plan, 'models' | 'settings'>, view: StageProgress): Promise<Pick<PipelinePackageOptions, 'variants' | 'variantPictures'>> {
  const files = Object.entries(variant);
  if (files.length === 0) return {};
  const pictures = variantPictures ?? golden ?? calibrate;
  const stage = kindOf(kind).varies?.stages[0];
  if (stage === undefined) throw new DeployError('E_USAGE', `A ${kind} pipeline has no variants`);
  if (pictures === undefined) throw new DeployError('E_USAGE', 'Expected --variant-pictures, --golden or --calibrate with --variant: pictures show what a variant does not find');
  const variants: VariantPlan[] = [];
  for (const [name, path] of files) {
    const models = { [stage]: await readModelInput(path) };
    const packed = calibrate === undefined || options.stages?.includes(stage) === false ? models : (await modelsToPack({ kind, ...plan, models: { ...plan.models, ...models }, output: '' }, { ...options, variant, calibrate, stages: [stage] }, view)).models;
    variants.push({ name, models: { [stage]: packed[stage] ?? new Uint8Array(0) } });
  }
  return { variants, variantPictures: samplesOf(kind, pictures) };
}

/**
 * The models as they are packed: as given, or quantized on pictures.
 * @throws DeployError E_USAGE for a format without pictures
 */
async function modelsToPack({ kind, models, settings: { overrides, hints } }: Plan, options: PackageOptions, view: StageProgress): Promise<CompressedStages> {
  const { calibrate, stages, format, maxDrop, edges, depthwise, engine } = options;
  if (calibrate !== undefined) {
    const quantize: QuantizeOptions = { engine, ...stated({ format, maxDrop, edges, depthwise }) };
    return compressStages(kind, models, samplesOf(kind, calibrate), {
      overrides, quantize, record: { engine }, ...(stages === undefined ? {} : { stages }), ...(hints === undefined ? {} : { hints }),
      onPicture: (count) => view.update('running the calibration pictures through the pipeline', count, null),
      onProgress: (stage) => quantizeProgress(view, { prefix: `${stage}: ` }),
    });
  }
  if ([stages, format, maxDrop, edges, depthwise].some((value) => value !== undefined)) {
    throw new DeployError('E_USAGE', 'Expected --calibrate with --stages, --format, --max-drop, --edges or --depthwise: without pictures, the models are packaged unchanged');
  }
  return { models, reports: {}, calibration: [] };
}

/** What a kind of pipeline is calibrated with: a picture a second of a video, or pieces of sound. */
function samplesOf(kind: string, spec: string): AsyncIterable<Image | AudioChunk> {
  return kind === 'sound' ? openSoundSource(spec) : openSource(spec, { fps: 1 });
}

/** Settings that do not depend on what is packed. */
async function packageOptions(options: PackageOptions): Promise<Omit<PipelinePackageOptions, 'name' | 'version'>> {
  const { releaseCounter, embeddingSpace, settings, golden, ramBudget, p99Budget, energyBudget, galleryPlan, engine } = options;
  return {
    releaseCounter, engine: { engine },
    ...(embeddingSpace === undefined ? {} : { embeddingSpaceId: embeddingSpace }),
    ...(galleryPlan === undefined ? {} : { galleryPlan }),
    ...(settings === undefined ? {} : { overrides: await readJson(settings) }),
    ...(golden === undefined ? {} : { goldenPictures: samplesOf(options.kind ?? defaultKind, golden) }),
    budget: { ...(ramBudget === undefined ? {} : { ram_bytes: ramBudget }), ...(p99Budget === undefined ? {} : { p99_ms: p99Budget }), ...(energyBudget === undefined ? {} : { joules: energyBudget }) },
  };
}

/** Of a pipeline whose models were given by stage. @throws DeployError E_USAGE */
async function planPipeline(options: PackageOptions): Promise<Plan> {
  const { kind = defaultKind, name, packageVersion, output } = options;
  const [first] = statedOptions(options);
  if (first !== undefined) throw new DeployError('E_USAGE', `Expected --${first} with a model as the argument; the settings of a ${kind} pipeline are stated with --settings`);
  if (name === undefined || packageVersion === undefined || output === undefined) throw new DeployError('E_USAGE', 'Expected --name, --package-version and --output for models that are given by stage');
  return { kind, output, models: await readModels(kind, options), settings: { ...(await packageOptions(options)), name, version: packageVersion } };
}

const isModelKind = (kind: string): kind is ModelKind => Object.hasOwn(modelKinds, kind);

/**
 * Of a single model, as `sterna run` recognizes it.
 * @throws DeployError E_USAGE
 */
async function planModel(self: Command, path: string, options: PackageOptions): Promise<Plan> {
  const { kind, engine } = options;
  const [stage] = Object.keys(stagePaths(options));
  if (stage !== undefined) throw new DeployError('E_USAGE', `Expected a model as the argument or by stage but received ${path} and a model of the stage ${stage}`);
  if (kind !== undefined && !isModelKind(kind)) throw new DeployError('E_USAGE', `Expected --kind ${Object.keys(modelKinds).join(', ')} for a single model but received ${kind}; give its models with --stage`);
  const { notes, hints, description, ...prepared } = await prepareModel(path, await modelOptions({ ...options, kind }), engine);
  const name = options.name ?? nameOf(path);
  const version = options.packageVersion ?? '1.0.0';
  const output = options.output ?? `${name}.sterna`;
  const named = Object.entries({ name: [options.name, name], 'package-version': [options.packageVersion, version], output: [options.output, output] });
  for (const text of [...notes, ...named.filter(([, [stated]]) => stated === undefined).map(([option, [, value]]) => `assumed --${option} ${value ?? ''}`)]) log(self, `sterna: ${text}`);
  const { overrides, ...settings } = await packageOptions(options);
  return { ...prepared, output, settings: { ...settings, hints, overrides: merge(description, overrides), name, version } };
}

/** The name of a model's file, in the letters that a package's name may have. */
function nameOf(path: string): string {
  return basename(path, extname(path)).toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-+|-+$/g, '').slice(0, 63).replace(/-+$/, '') || 'model';
}

interface Packed {
  reports: CompressedStages['reports'];
  built: Awaited<ReturnType<typeof buildPipelinePackage>>;
  test: SelfTestReport;
}

async function packAndTest(plan: Plan, options: PackageOptions, view: StageProgress): Promise<Packed> {
  const variants = await variantOptions(plan.kind, options, plan, view);
  const { models, reports, calibration } = await modelsToPack(plan, options, view);
  view.update('recording golden vectors', 0, null);
  const built = await buildPipelinePackage(plan.kind, models, { ...plan.settings, ...variants, calibration });
  await writeOutputFile(plan.output, built.bytes);
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
  const command = program
    .command('package')
    .summary('pack models into a .sterna package')
    .argument('[model.onnx]', 'a single model, which is recognized from its outputs as by `sterna run`')
    .description('Packages a single model, or the models of a pipeline by stage, with their settings and golden vectors. It records the golden vectors by running the models here, and tests the package on this CPU.')
    .addOption(new Option('--kind <kind>', `kind of pipeline; default: that of the model, or ${defaultKind} for models by stage`).choices(kinds.map((kind) => kind.name)))
    .option('--stage <name=onnx>', `model of a stage; may be repeated. ${stageHelp()}`, stageArgument, {})
    .option('--detector <onnx>', 'short for --stage detector=...')
    .option('--landmarks <onnx>', 'short for --stage landmarks=...')
    .option('--liveness <onnx>', 'short for --stage liveness=...')
    .option('--embedder <onnx>', 'short for --stage embedder=...')
    .option('--variant <name=onnx>', 'a cheaper detector (a smaller picture, fewer bits), to which devices change while they must save heat or energy; may be repeated', stageArgument, {})
    .option('--variant-pictures <source>', 'pictures or a video to measure on how much work a variant saves and what it does not find; default: those of --golden, or --calibrate')
    .option('--name <name>', 'lower-case letters, digits and "-"; default for a single model: the name of its file')
    .option('--package-version <semver>', 'such as 1.2.0; default for a single model: 1.0.0')
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
    .addOption(new Option('--gallery-plan <plan>', 'what becomes of people whom another embedder enrolled: re-embed enrolls them from the pictures that a device has kept, and enroll asks for them again; without a plan, devices that have such people refuse the package').choices(['re-embed', 'enroll']))
    .option('--energy-budget <joules>', 'a device that can tell refuses the package if an inference of its self-test takes more energy', Number)
    .addOption(engineOption('--engine <engine>', 'engine that runs the calibration and records the golden vectors').default('native'))
    .option('-o, --output <out.sterna>', 'where the package goes; default for a single model: its name with .sterna');
  addModelOptions(command)
    .action(reporting(async (self, model: string | undefined, options: PackageOptions) => {
      const plan = model === undefined ? await planPipeline(options) : await planModel(self, model, options);
      const view = stageProgress(self);
      const { reports, built: { manifest, bytes, sha256 }, test } = await packAndTest(plan, options, view).finally(() => view.clear());
      const quantized = Object.entries(reports);
      for (const [stage, { warnings }] of quantized) for (const text of warningTexts(warnings)) log(self, `sterna: warning: ${stage}: ${text}`);
      const json = {
        output: plan.output, name: manifest.name, version: manifest.version, sha256, bytes: bytes.length,
        files: manifest.files, variants: (manifest.variants ?? []).map(({ name, load, cost }) => ({ name, load, cost })), embedding_space_id: manifest.embedding_space_id,
        quantized: Object.fromEntries(quantized.map(([stage, { output_cosine, low_bit_macs }]) => [stage, { output_cosine, low_bit_macs }])),
        self_test: { passed: test.passed, failures: test.failures, worst_cosine: test.worstCosine, worst_max_abs: test.worstMaxAbs, p50_ms: test.p50Ms, p99_ms: test.p99Ms, memory_bytes: test.memoryBytes },
      };
      const text = [
        ...quantized.map(([stage, report]) => describeStage(stage, report)),
        `${manifest.name} ${manifest.version}: ${manifest.files.length} files, ${formatBytes(bytes.length)}, written to ${plan.output}`,
        ...(manifest.variants ?? []).map(({ name, load, cost }) => `variant ${name}: a frame takes ${(100 * load).toFixed(0)} % of the work, and ${(100 * cost).toFixed(1)} % of the objects are not found`),
        `sha256 ${sha256}`, describeTest(test),
      ].join('\n');
      return { json, text, exitCode: test.passed ? exitCodes.ok : exitCodes.failed };
    }));
}
