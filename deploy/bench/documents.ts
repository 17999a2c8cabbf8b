import { DeployError } from '../errors.js';
import { wrapLine, wrapProse } from '../markdown.js';
import { ratioOf, timesOf, type BenchReport, type Comparison, type ModelReport } from './report.js';
import { geometricMean } from './statistics.js';

const begin = '<!-- bench:begin -->';
const end = '<!-- bench:end -->';

/**
 * A document with the text between its two markers replaced.
 * @throws DeployError E_BENCH: not exactly one pair of markers
 */
export function replaceBench(document: string, body: string): string {
  const parts = document.split(begin);
  const rest = parts[1]?.split(end) ?? [];
  if (parts.length !== 2 || rest.length !== 2) throw new DeployError('E_BENCH', `Expected one ${begin} and after it one ${end} but the document has others or none`);
  return `${parts[0]}${begin}\n${body}\n${end}${rest[1]}`;
}

const comparisonTitles: Readonly<Record<Comparison, string>> = {
  int8_vs_int8: 'int8, onnxruntime on the same int8 file',
  int8_vs_float32: 'int8, onnxruntime on the float32 original',
  float32_vs_float32: 'float32, onnxruntime on the same file',
};

/** A table of Markdown; columns after the first are numbers. */
function markdownTable(titles: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(titles), `| --- |${' ---: |'.repeat(titles.length - 1)}`, ...rows.map(line)].join('\n');
}

/** How many times as fast; bold where we lose. */
function ratioText(ratio: number | undefined): string {
  if (ratio === undefined) return '';
  return ratio < 1 ? `**${ratio.toFixed(2)}**` : ratio.toFixed(2);
}

const digits = (value: number | null | undefined, count: number): string => (value === null || value === undefined ? '' : value.toFixed(count));
const milliseconds = (ms: number | undefined): string => (ms === undefined ? '' : ms.toFixed(ms < 1 ? 3 : 2));
const percent = (share: number | null | undefined): string => (share === null || share === undefined ? '' : `${(100 * share).toFixed(0)} %`);
const megabytes = (bytes: number | null | undefined): string => (bytes === null || bytes === undefined ? '' : (bytes / 1e6).toFixed(bytes < 1e6 ? 2 : 1));

function summaryTable({ summary }: BenchReport): string {
  const rows = summary.map((row) => [
    comparisonTitles[row.comparison], row.isa, String(row.threads), String(row.models), ratioText(row.geometric_mean_p50), ratioText(row.geometric_mean_min), ratioText(row.geometric_mean_cpu ?? undefined), `${ratioText(row.worst.ratio_p50)} (${row.worst.model})`,
  ]);
  return markdownTable(['Sterna against', 'instruction set', 'threads', 'models', 'geometric mean', '... of minima', '... of CPU time', 'worst'], rows);
}

/** Where fewer bits win and where they lose; empty when none were measured. */
function formatLines({ formats }: BenchReport): string[] {
  if (formats.length === 0) return [];
  const extreme = ({ model, ratio_p50 }: { model: string; ratio_p50: number }): string => `${ratioText(ratio_p50)} (${model})`;
  const rows = formats.map((row) => [row.format, row.isa, String(row.models), ratioText(row.geometric_mean_p50), extreme(row.best), extreme(row.worst)]);
  return [
    'Formats below 8 bits against int8 of Sterna, whole models, 1 thread. Where an instruction set is faster with 8 bits, the layers use 8 bits:',
    markdownTable(['format', 'instruction set', 'models', 'geometric mean', 'best', 'worst'], rows),
  ];
}

const pair = (own: string, other: string): string => (own === '' && other === '' ? '' : `${own} / ${other === '' ? '-' : other}`);

function modelRow(model: ModelReport, key: { isa: string; threads: number }): string[] {
  const times = (engine: 'native' | 'onnxruntime', format: 'int8' | 'float32') => timesOf(model, { engine, format, threads: key.threads, ...(engine === 'native' ? { isa: key.isa } : {}) });
  const bothMs = (format: 'int8' | 'float32'): string => pair(milliseconds(times('native', format)?.p50_ms), milliseconds(times('onnxruntime', format)?.p50_ms));
  const memory = (engine: 'native' | 'onnxruntime'): string => megabytes(model.footprints.find((row) => row.engine === engine && row.format === 'int8')?.rss_bytes);
  const loading = (engine: 'native' | 'onnxruntime'): string => digits(model.footprints.find((row) => row.engine === engine && row.format === 'int8')?.load_ms, 0);
  const int8 = times('native', 'int8');
  return [
    model.source === 'generated' ? `${model.name} (generated)` : model.name,
    digits(model.macs / 1e6, model.macs < 1e7 ? 1 : 0),
    bothMs('int8'), ratioText(ratioOf(model, 'int8_vs_int8', key)), ratioText(ratioOf(model, 'int8_vs_float32', key)),
    bothMs('float32'), ratioText(ratioOf(model, 'float32_vs_float32', key)),
    pair(percent(int8?.share_of_peak), percent(times('native', 'float32')?.share_of_peak)),
    megabytes(int8?.arena_bytes), pair(loading('native'), loading('onnxruntime')), pair(memory('native'), memory('onnxruntime')),
  ];
}

function modelTable({ models }: BenchReport, key: { isa: string; threads: number }): string {
  const order = (model: ModelReport): number => ratioOf(model, 'int8_vs_int8', key) ?? ratioOf(model, 'float32_vs_float32', key) ?? Infinity;
  const titles = [
    'model', 'MMAC', 'int8 ms', 'times as fast', '... as float32', 'float32 ms', 'times as fast', 'share of peak, int8 / float32', 'arena MB', 'first load ms', 'process MB',
  ];
  return markdownTable(titles, [...models].sort((a, b) => order(a) - order(b)).map((model) => modelRow(model, key)));
}

/** Speed of int8 with each number of threads, as a multiple of the speed with the first; geometric mean over the models. */
function scalingLines({ models, threads, selected_isa: isa }: BenchReport): string[] {
  const [one, ...more] = threads;
  if (one === undefined) return [];
  return more.flatMap((count) => {
    const of = (engine: 'native' | 'onnxruntime'): string => {
      const ratios = models.flatMap((model) => {
        const [base, other] = [one, count].map((n) => timesOf(model, { engine, format: 'int8', threads: n, ...(engine === 'native' ? { isa } : {}) })?.p50_ms);
        return base === undefined || other === undefined ? [] : [base / other];
      });
      return ratios.length === 0 ? '-' : geometricMean(ratios).toFixed(2);
    };
    return [`${count} threads are ${of('native')} times as fast as ${one} (onnxruntime: ${of('onnxruntime')}), int8, geometric mean.`];
  });
}

/** Conditions of the run. */
function headline({ date, versions, cpu, selected_isa, models }: BenchReport): string {
  const other = versions.onnxruntime === null ? 'no onnxruntime' : `onnxruntime ${versions.onnxruntime}`;
  const others = models.reduce((sum, model) => sum + model.others_cores, 0) / Math.max(1, models.length);
  return `${date.slice(0, 10)}, ${cpu.model} (${cpu.arch}, ${cpu.cores} cores), Sterna ${versions.sterna} on ${selected_isa}, ${other}, Node ${versions.node}. Other processes kept ${others.toFixed(2)} cores busy meanwhile.`;
}

/** What README says of a run: three lines. */
export function speedLines(report: BenchReport): string {
  const { selected_isa: isa, threads, cpu } = report;
  const least = Math.min(...threads);
  const lines = report.summary.filter((row) => row.isa === isa && row.threads === least).map((row) => `* ${comparisonTitles[row.comparison]}: `
    + `**${row.geometric_mean_p50.toFixed(2)} times** its speed (geometric mean of ${row.models} networks; the worst, ${row.worst.model}: ${row.worst.ratio_p50.toFixed(2)}).`);
  return [`Against onnxruntime, ${least} thread on ${cpu.model} (${isa}), measured alternately in one process:`, '', ...lines.map((line) => wrapLine(line, 118).replaceAll('\n', '\n  '))].join('\n');
}

/** What deploy/BENCHMARKS.md shows of a run: conditions, means and worst rows, every model (the worst first), peaks, and what did not run. */
export function benchMarkdown(report: BenchReport): string {
  return wrapProse(benchText(report));
}

function benchText(report: BenchReport): string {
  const { selected_isa: isa, peaks, models, threads } = report;
  const least = Math.min(...threads);
  const peakText = peaks.map((peak) => `${peak.instruction} (${peak.isa}) ${peak.gmac_s.toFixed(0)}`).join(', ');
  const failures = models.flatMap(({ name, failures: list }) => list.map(({ what, code }) => `${name}, ${what}: ${code}`));
  return [
    headline(report),
    summaryTable(report),
    `Each model with ${least} thread${least === 1 ? '' : 's'} on ${isa}, medians, Sterna / onnxruntime:`,
    modelTable(report, { isa, threads: least }),
    ...formatLines(report),
    [...scalingLines(report), ...(peakText === '' ? [] : [`Measured peaks, GMAC/s of 1 thread: ${peakText}.`]), ...(failures.length === 0 ? [] : [`Not measured: ${failures.join('; ')}.`])].join('\n'),
  ].join('\n\n');
}
