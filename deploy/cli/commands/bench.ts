import { cpus } from 'node:os';
import { basename } from 'node:path';
import type { Command } from 'commander';
import { describeCpu, type Isa } from '../../../kernels/binding/native.js';
import { SternaError } from '../../../kernels/binding/errors.js';
import { openOnnxRuntime } from '../../../runtime/engines/onnxruntime.js';
import type { EngineName } from '../../../runtime/session-types.js';
import { benchModel, profileModel, type BenchResult, type Contender } from '../../bench/measure.js';
import { PeakMeter, type PeakRow } from '../../bench/peaks.js';
import { layerRows, sumByOp, type CostRow, type LayerRow, type OpRow } from '../../bench/profile.js';
import { chooseShapes, type ChosenShapes } from '../../compress/shapes.js';
import { readChosenModel } from '../files.js';
import { addInputOptions, chosenSizes, engineList, integer, isaList, type InputOptions } from '../options.js';
import { log, reporting } from '../output.js';
import { formatBytes, formatCount, formatTable } from '../table.js';

interface BenchOptions extends InputOptions {
  engine?: EngineName[];
  threads: number;
  runs: number;
  isa?: Isa[];
  profile?: boolean;
  layers?: boolean;
}

/** Both engines unless asked otherwise; without onnxruntime-node installed, native alone. */
async function chooseEngines(command: Command, model: Uint8Array, asked: EngineName[] | undefined): Promise<EngineName[]> {
  if (asked !== undefined) return asked;
  try {
    await (await openOnnxRuntime(model)).close();
    return ['native', 'onnxruntime'];
  } catch (error) {
    if (!(error instanceof SternaError)) throw error;
    log(command, `sterna: without onnxruntime: ${error.message}`);
    return ['native'];
  }
}

function contendersFor(engines: readonly EngineName[], isas: readonly Isa[] | undefined): Contender[] {
  return engines.flatMap((engine): Contender[] => {
    if (engine !== 'native' || isas === undefined) return [{ label: engine, engine }];
    return isas.map((isa) => ({ label: isas.length === 1 ? engine : `${engine}:${isa}`, engine, isa }));
  });
}

/** The instruction set is native's choice: without it there is none to name, and no addon is needed. */
function describeMachine(engines: readonly EngineName[]): { model: string; isa: Isa | null } {
  if (!engines.includes('native')) return { model: cpus()[0]?.model ?? 'unknown', isa: null };
  const { model, selected } = describeCpu();
  return { model, isa: selected };
}

const right = (title: string) => ({ title, align: 'right' as const });

function timesText({ engines, speedup_p50, speedup_min }: BenchResult): string {
  const rows = Object.entries(engines).map(([label, times]) => [
    label,
    ...[times.min_ms, times.p50_ms, times.p99_ms, times.cpu_ms, times.load_ms, times.load_cached_ms].map((ms) => ms?.toFixed(3) ?? '-'),
    times.arena_bytes === null ? '-' : formatBytes(times.arena_bytes),
  ]);
  const table = formatTable([{ title: 'engine' }, right('min ms'), right('p50 ms'), right('p99 ms'), right('cpu ms'), right('load ms'), right('cached ms'), right('arena')], rows);
  const again = Object.entries(engines).flatMap(([label, { recompilations }]) => (recompilations === null || recompilations === 0 ? [] : [
    `${label} compiled the model ${recompilations} times in these runs, because the numbers that it is fed decide sizes: make these inputs constant, or give shapes`]));
  const text = [table, ...again].join('\n\n');
  if (speedup_p50 === null || speedup_min === null) return text;
  return `${text}\n\nnative is ${speedup_p50.toFixed(2)} times as fast as onnxruntime by the median (${speedup_min.toFixed(2)} by the minimum)`;
}

/** What --profile adds to the JSON. */
interface ProfileReport {
  /** Peaks of the instruction set that was profiled. */
  peaks: PeakRow[];
  profile: OpRow[];
  layers: LayerRow[];
}

async function profileReport(model: Uint8Array, { threads, isa }: BenchOptions, shapes: ChosenShapes['shapes']): Promise<ProfileReport> {
  const { isa: ran, layers } = await profileModel(model, { threads, isa: isa?.[0], shapes });
  const meter = new PeakMeter();
  if (ran !== undefined) meter.sample([ran]);
  const against = { peak: ran === undefined ? { int8: null, float32: null } : meter.peak(ran), threads };
  return { peaks: meter.rows(), profile: sumByOp(layers, against), layers: layerRows(layers, against) };
}

const costColumns = [right('ms'), right('time'), right('MACs'), right('GMAC/s'), right('of peak'), right('read'), right('written')];

function costCells({ ms, macs, gmac_s, share_of_peak, bytes_read, bytes_written }: CostRow, totalMs: number): string[] {
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
  return [
    ms.toFixed(3), percent(ms / totalMs), macs === 0 ? '-' : formatCount(macs), gmac_s === null ? '-' : gmac_s.toFixed(1),
    share_of_peak === null ? '-' : percent(share_of_peak), formatBytes(bytes_read), formatBytes(bytes_written),
  ];
}

function profileText({ peaks, profile, layers }: ProfileReport, everyLayer: boolean): string {
  const total = profile.reduce((sum, { ms }) => sum + ms, 0);
  const byOp = formatTable(
    [{ title: 'op' }, { title: 'kernel' }, right('layers'), ...costColumns],
    profile.map((row) => [row.op, row.kernel, String(row.layers), ...costCells(row, total)]),
  );
  const byLayer = formatTable([{ title: 'layer' }, { title: 'op' }, { title: 'kernel' }, ...costColumns], layers.map((row) => [row.name, row.op, row.kernel, ...costCells(row, total)]));
  const measured = peaks.map(({ instruction, gmac_s }) => `${instruction} ${gmac_s.toFixed(1)}`).join(', ');
  return [byOp, ...(everyLayer ? [byLayer] : []), ...(measured === '' ? [] : [`peak of 1 thread, GMAC/s: ${measured}`])].join('\n\n');
}

export function register(program: Command): void {
  const command = program
    .command('bench')
    .summary('measure the latency of a model on several engines')
    .description('Measures the latency of a model. The engines alternate run by run in one process, so that noise affects all of them equally.')
    .argument('<model.onnx>')
    .option('--engine <list>', 'engines, separated by commas: native, onnxruntime (default: both, if installed)', engineList)
    .option('--threads <n>', 'threads of each engine', integer(1), 1)
    .option('--runs <n>', 'timed runs of each engine', integer(1), 100)
    .option('--isa <list>', 'instruction sets of the native engine, separated by commas; each is measured', isaList)
    .option('--profile', 'also measure every layer of the native engine (with --isa, on the first instruction set), and add up times by operator')
    .option('--layers', 'like --profile, with one line for each layer');
  addInputOptions(command)
    .action(
      reporting(async (self: Command, path: string, options: BenchOptions) => {
        const model = await readChosenModel(path, options);
        const { shapes, notes } = await chooseShapes(model, chosenSizes(options));
        for (const note of notes) log(self, `sterna: ${note}`);
        const engines = await chooseEngines(self, model, options.engine);
        const cpu = describeMachine(engines);
        const result = await benchModel(model, contendersFor(engines, options.isa).map((contender) => ({ ...contender, shapes })), options);
        const profile = options.profile === true || options.layers === true ? await profileReport(model, options, shapes) : undefined;
        const isa = options.isa?.join(',') ?? cpu.isa;
        const heading = `${basename(path)} on ${cpu.model}, ${isa === null ? '' : `${isa}, `}${options.threads} thread(s), ${options.runs} runs`;
        return {
          json: { model: path, shapes, cpu: cpu.model, isa, ...result, ...profile },
          text: [heading, '', timesText(result), ...(profile === undefined ? [] : ['', profileText(profile, options.layers === true)])].join('\n'),
        };
      }),
    );
}
