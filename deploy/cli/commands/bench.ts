import { cpus } from 'node:os';
import { basename } from 'node:path';
import type { Command } from 'commander';
import { describeCpu, type Isa } from '../../../kernels/native.js';
import { SternaError } from '../../../kernels/errors.js';
import { openOnnxRuntime } from '../../../runtime/engines/onnxruntime.js';
import type { EngineName, LayerProfile } from '../../../runtime/session-types.js';
import { benchModel, profileModel, type BenchResult, type Contender } from '../../compress/bench.js';
import { readInputFile } from '../files.js';
import { engineList, integer, isaList } from '../options.js';
import { log, reporting } from '../output.js';
import { formatBytes, formatCount, formatTable } from '../table.js';

interface BenchOptions {
  engine?: EngineName[];
  threads: number;
  runs: number;
  isa?: Isa[];
  profile?: boolean;
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
    ...[times.min_ms, times.p50_ms, times.p99_ms, times.load_ms, times.load_cached_ms].map((ms) => ms?.toFixed(3) ?? '-'),
    times.arena_bytes === null ? '-' : formatBytes(times.arena_bytes),
  ]);
  const table = formatTable([{ title: 'engine' }, right('min ms'), right('p50 ms'), right('p99 ms'), right('load ms'), right('cached ms'), right('arena')], rows);
  if (speedup_p50 === null || speedup_min === null) return table;
  return `${table}\n\nnative is ${speedup_p50.toFixed(2)} times as fast as onnxruntime by the median (${speedup_min.toFixed(2)} by the minimum)`;
}

interface OpTimes {
  op: string;
  kernel: string;
  layers: number;
  ms: number;
  macs: number;
}

/** Layers summed by operator and kernel, the slowest first. */
export function sumByOp(layers: readonly LayerProfile[]): OpTimes[] {
  const groups = new Map<string, OpTimes>();
  for (const { op, kernel, ms, macs } of layers) {
    const key = `${op} ${kernel}`;
    const group = groups.get(key) ?? { op, kernel, layers: 0, ms: 0, macs: 0 };
    groups.set(key, { op, kernel, layers: group.layers + 1, ms: group.ms + ms, macs: group.macs + macs });
  }
  return [...groups.values()].sort((a, b) => b.ms - a.ms);
}

function profileText(groups: readonly OpTimes[]): string {
  const total = groups.reduce((sum, { ms }) => sum + ms, 0);
  const rows = groups.map(({ op, kernel, layers, ms, macs }) => [
    op, kernel, String(layers), ms.toFixed(3), `${((100 * ms) / total).toFixed(1)} %`, formatCount(macs), macs === 0 ? '-' : (macs / ms / 1e6).toFixed(1),
  ]);
  return formatTable([{ title: 'op' }, { title: 'kernel' }, right('layers'), right('ms'), right('share'), right('MACs'), right('GMAC/s')], rows);
}

export function register(program: Command): void {
  program
    .command('bench')
    .summary('time a model, on several engines in turn')
    .description('Times a model. Engines take turns run by run in one process, so that noise meets all of them alike.')
    .argument('<model.onnx>')
    .option('--engine <list>', 'comma list of native, onnxruntime (default: both, if installed)', engineList)
    .option('--threads <n>', 'threads of each engine', integer(1), 1)
    .option('--runs <n>', 'timed runs of each engine', integer(1), 100)
    .option('--isa <list>', 'comma list of instruction sets for native, each timed by itself', isaList)
    .option('--profile', 'time every layer of native too, and sum by operator')
    .action(
      reporting(async (self: Command, path: string, options: BenchOptions) => {
        const model = await readInputFile(path);
        const engines = await chooseEngines(self, model, options.engine);
        const cpu = describeMachine(engines);
        const result = await benchModel(model, contendersFor(engines, options.isa), options);
        const profile = options.profile === true ? sumByOp(await profileModel(model, { threads: options.threads, isa: options.isa?.[0] })) : undefined;
        const isa = options.isa?.join(',') ?? cpu.isa;
        const heading = `${basename(path)} on ${cpu.model}, ${isa === null ? '' : `${isa}, `}${options.threads} thread(s), ${options.runs} runs`;
        return {
          json: { model: path, cpu: cpu.model, isa, ...result, ...(profile === undefined ? {} : { profile }) },
          text: [heading, '', timesText(result), ...(profile === undefined ? [] : ['', profileText(profile)])].join('\n'),
        };
      }),
    );
}
