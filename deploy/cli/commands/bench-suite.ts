import { existsSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { describeCpu, type Isa } from '../../../kernels/binding/native.js';
import { onnxRuntimeVersion } from '../../../runtime/engines/onnxruntime.js';
import { runtimeVersion } from '../../../runtime/version.js';
import { measureFootprint } from '../../bench/footprint.js';
import { listModels, prepareModel, type BenchModel, type ModelOptions } from '../../bench/models.js';
import { PeakMeter } from '../../bench/peaks.js';
import { benchMarkdown, replaceBench, speedLines } from '../../bench/documents.js';
import { lowBitFormats, reportSchema, reportVersion, type BenchReport, type LowBitFormat } from '../../bench/report.js';
import { runSuite, type SuiteOptions } from '../../bench/suite.js';
import { projectFolder } from '../../demo/folder.js';
import { DeployError } from '../../errors.js';
import { readInputFile, writeOutputFile } from '../files.js';
import { choiceList, integerList, isaList, positive } from '../options.js';
import { exitCodes, log, reporting, wantsJson } from '../output.js';
import { stageProgress, type StageProgress } from '../stage-progress.js';

interface SuiteCommand {
  models?: string;
  generated: boolean;
  filter: string;
  formats?: LowBitFormat[];
  isa?: Isa[];
  threads?: number[];
  seconds?: number;
  quick?: boolean;
  from?: string;
  output?: string;
  /** A file; false: --no-tables. */
  tables?: string | false;
}

/** Every instruction set that runs here but the reference, the one that native chooses first. */
function fastIsas(): Isa[] {
  const { isas, selected } = describeCpu();
  const runnable = isas.filter(({ isa, runnable }) => runnable && isa !== 'ref' && isa !== selected).map(({ isa }) => isa);
  return [selected, ...runnable.reverse()];
}

function suiteOptions({ isa, threads, seconds, quick = false }: SuiteCommand, withOnnxRuntime: boolean): SuiteOptions {
  return {
    isas: isa ?? (quick ? fastIsas().slice(0, 1) : fastIsas()),
    threads: threads ?? (quick ? [1] : [1, 2]),
    engines: withOnnxRuntime ? ['native', 'onnxruntime'] : ['native'],
    rounds: { least: quick ? 2 : 8, most: 400, milliseconds: 1000 * (seconds ?? (quick ? 0.3 : 5)) },
  };
}

async function* prepared(list: readonly Pick<BenchModel, 'name' | 'source'>[], options: ModelOptions, view: StageProgress): AsyncGenerator<BenchModel> {
  const show = (done: number, detail?: string): void => view.update('measuring models', done, list.length, detail);
  for (const [done, model] of list.entries()) {
    show(done, `preparing ${model.name}`);
    const ready = await prepareModel(model, options);
    show(done, `timing ${model.name}`);
    yield ready;
  }
}

async function measure(self: Command, options: SuiteCommand): Promise<BenchReport> {
  const beside = join(projectFolder(), '..', 'shared', 'models');
  const folder = options.models ?? (existsSync(beside) ? beside : undefined);
  const sources: ModelOptions = { folder, generated: options.generated, filter: options.filter, lowBits: options.formats ?? (options.quick === true ? [] : ['w46', 'int4']), cache: join(projectFolder(), '.cache', 'bench') };
  const list = await listModels(sources);
  if (list.length === 0) throw new DeployError('E_BENCH', `Expected at least one model${options.filter === '' ? '' : ` whose name contains "${options.filter}"`} but found none`);
  const onnxruntime = await onnxRuntimeVersion();
  if (onnxruntime === undefined) log(self, 'sterna: onnxruntime-node is not installed: native is measured alone');
  const suite = suiteOptions(options, onnxruntime !== undefined);
  const cpu = describeCpu();
  const view = stageProgress(self);
  const say = (line: string): void => {
    view.clear();
    if (!wantsJson(self)) log(self, `sterna: ${line}`);
  };
  const footprint = options.quick === true ? {} : { footprint: measureFootprint };
  const result = await runSuite(prepared(list, sources, view), suite, { peaks: new PeakMeter(), log: say, ...footprint }).finally(() => view.clear());
  return {
    schema_version: reportVersion,
    date: new Date().toISOString(),
    versions: { sterna: runtimeVersion, onnxruntime: onnxruntime ?? null, node: process.versions.node },
    cpu: { model: cpu.model || (cpus()[0]?.model ?? 'unknown'), arch: cpu.arch, cores: availableParallelism() },
    selected_isa: suite.isas[0] ?? cpu.selected,
    isas: [...suite.isas],
    threads: [...suite.threads],
    ...result,
  };
}

/** A report of an earlier run. @throws DeployError E_FILE, E_BENCH */
async function readReport(path: string): Promise<BenchReport> {
  const text = new TextDecoder().decode(await readInputFile(path));
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new DeployError('E_BENCH', `Expected the report of a bench but ${path} is not JSON`, { cause });
  }
  const parsed = reportSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new DeployError('E_BENCH', `Expected the report of a bench, version ${reportVersion}, but in ${path} ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`, { cause: parsed.error });
}

const encoder = new TextEncoder();

interface Target {
  path: string;
  write: (report: BenchReport) => string;
}

/** What a run writes into which document: a quick run's figures are too rough for one unless it is named. */
function targetsOf({ tables, quick }: SuiteCommand): Target[] {
  if (tables === false || (tables === undefined && quick === true)) return [];
  if (tables !== undefined) return [{ path: tables, write: benchMarkdown }];
  return [
    { path: join(projectFolder(), 'deploy', 'BENCHMARKS.md'), write: benchMarkdown },
    { path: join(projectFolder(), 'README.md'), write: speedLines },
  ];
}

/** A document with the text of this run. @throws DeployError E_FILE, E_BENCH */
async function documentWith(path: string, text: string): Promise<Uint8Array> {
  return encoder.encode(replaceBench(new TextDecoder().decode(await readInputFile(path)), text));
}

export function register(program: Command): void {
  program
    .command('bench-suite')
    .summary('measure many models in all formats, and write deploy/BENCHMARKS.md (npm run bench)')
    .description(
      'Measures the latency of every ONNX file of a folder, and of networks that Sterna generates, in float32 and in int8 (quantized by Sterna), on Sterna and onnxruntime. All contenders of a model alternate in one process. Writes a JSON report, the tables of deploy/BENCHMARKS.md and the summary in README.md.',
    )
    .option('--models <dir>', 'folder of ONNX files (default: ../shared/models beside the checkout, if it is there)')
    .option('--no-generated', 'leave out the generated networks')
    .option('--filter <text>', 'only models whose names contain this text', '')
    .option('--formats <list>', `formats below 8 bits to measure as well as int8: ${lowBitFormats.join(', ')} (default: w46,int4; none with --quick)`, choiceList(lowBitFormats))
    .option('--isa <list>', 'instruction sets of the native engine; the first runs with every number of threads (default: all that this CPU has)', isaList)
    .option('--threads <list>', 'numbers of threads (default: 1,2)', integerList(1))
    .option('--seconds <n>', 'measuring time of each model (default: 5)', positive)
    .option('--quick', 'a rough run: 1 thread, the best instruction set, no memory figures; documents are only written if named')
    .option('--from <report>', 'measure nothing: write the documents from the report of an earlier run')
    .option('--output <file>', 'where the JSON report goes (default: build/bench.json of the checkout)')
    .option('--tables <file>', 'document whose bench markers enclose the tables to write (default: deploy/BENCHMARKS.md and README.md of the checkout)')
    .option('--no-tables', 'do not write the documents')
    .action(
      reporting(async (self: Command, options: SuiteCommand) => {
        const targets = targetsOf(options);
        for (const { path } of targets) await documentWith(path, ''); // a document that cannot take it is better known before minutes of measuring
        const report = options.from === undefined ? await measure(self, options) : await readReport(options.from);
        const output = options.output ?? join(projectFolder(), 'build', 'bench.json');
        if (options.from === undefined) await writeOutputFile(output, encoder.encode(`${JSON.stringify(report, null, 1)}\n`));
        const text = benchMarkdown(report);
        for (const { path, write } of targets) await writeOutputFile(path, await documentWith(path, write(report)));
        const failed = options.from !== undefined ? [] : report.models.flatMap(({ name, failures }) => failures.map(({ what, code }) => `FAILED: ${name}: ${what}: ${code}`));
        return { json: report, text: [text, ...failed].join('\n'), exitCode: failed.length === 0 ? exitCodes.ok : exitCodes.failed };
      }),
    );
}
