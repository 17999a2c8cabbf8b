import { readFile, stat } from 'node:fs/promises';
import { performance } from 'node:perf_hooks';
import type { Isa } from '../../kernels/binding/native.js';
import { inspectModel } from '../../runtime/inspect.js';
import type { EngineName } from '../../runtime/session-types.js';
import type { FootprintAnswer } from './footprint.js';
import { openEntry, summarize, takeTurns, type Contender, type Entry, type Rounds } from './measure.js';
import { asFailure, type BenchFailure, type BenchModel } from './models.js';
import { coresOfOthers, sampleCpu } from './neighbours.js';
import { gmacPerSecond, shareOfPeak, type PeakMeter } from './peaks.js';
import { isLowBit, modelFormats, summarizeFormats, summarizeModels, type BenchReport, type Footprint, type ModelFormat, type ModelReport, type Times } from './report.js';

export interface SuiteOptions {
  /** Instruction sets to compare; the first one runs with every number of threads, the others with the least. */
  isas: readonly Isa[];
  threads: readonly number[];
  engines: readonly EngineName[];
  rounds: Rounds;
}

/** What the suite needs of the world. */
export interface SuiteTools {
  peaks: PeakMeter;
  /** Undefined: memory is not measured. */
  footprint?: (engine: EngineName, path: string) => Promise<FootprintAnswer | undefined>;
  log(line: string): void;
}

/** One engine, on one form of the model, with so many threads. */
interface Lane extends Contender {
  format: ModelFormat;
  threads: number;
}

/** All that take turns on one model, engines and formats next to each other. Fewer bits are native's alone: onnxruntime computes them as int8. */
export function lanesOf(formats: readonly ModelFormat[], { isas, threads, engines }: Pick<SuiteOptions, 'isas' | 'threads' | 'engines'>): Lane[] {
  const [first] = isas;
  const least = Math.min(...threads);
  return threads.flatMap((count) =>
    formats.flatMap((format) =>
      engines.flatMap((engine): Lane[] => {
        const lane = { engine, format, threads: count };
        const suffix = `${format} ${count} thread${count === 1 ? '' : 's'}`;
        if (engine === 'onnxruntime') return isLowBit(format) ? [] : [{ ...lane, label: `${engine} ${suffix}` }];
        return isas.filter((isa) => isa === first || count === least).map((isa) => ({ ...lane, isa, label: `${engine}:${isa} ${suffix}` }));
      }),
    ),
  );
}

interface Running {
  lane: Lane;
  entry: Entry;
}

/** An entry that has run once: some models open, and refuse what they are fed. */
async function openRunning(bytes: Uint8Array, lane: Lane): Promise<Entry> {
  const entry = await openEntry(bytes, lane, lane.threads);
  try {
    await entry.session.run(entry.feeds[0] ?? {});
    return entry;
  } catch (error) {
    await entry.session.close();
    throw error;
  }
}

async function open(lanes: readonly Lane[], files: Partial<Record<ModelFormat, Uint8Array>>, failures: BenchFailure[]): Promise<Running[]> {
  const running: Running[] = [];
  for (const lane of lanes) {
    const bytes = files[lane.format];
    if (bytes === undefined) continue;
    try {
      running.push({ lane, entry: await openRunning(bytes, lane) });
    } catch (error) {
      failures.push(asFailure(lane.label, error));
    }
  }
  return running;
}

function timesRow({ lane, entry }: Running, macs: number, peaks: PeakMeter): Times {
  const { engine, format, threads, isa } = lane;
  const times = summarize(entry);
  const speed = gmacPerSecond(macs, times.p50_ms);
  const share = isa === undefined || isLowBit(format) ? null : shareOfPeak(speed, peaks.peak(isa)[format], threads);
  return { engine, isa: isa ?? null, format, threads, ...times, gmac_s: speed, share_of_peak: share };
}

/** Multiply-adds of a model, by what native makes of it; 0 for one that native cannot run. */
async function macsOf(files: Partial<Record<ModelFormat, Uint8Array>>): Promise<number> {
  const bytes = files.int8 ?? files.float32;
  if (bytes === undefined) return 0;
  return inspectModel(bytes).then(({ macs }) => macs, () => 0);
}

async function footprintsOf({ formats, failures }: BenchModel, { engines }: SuiteOptions, measure: SuiteTools['footprint']): Promise<Footprint[]> {
  const rows: Footprint[] = [];
  if (measure === undefined) return rows;
  for (const [format, path] of entriesOf(formats).filter(([format]) => !isLowBit(format))) {
    for (const engine of engines) {
      try {
        const answer = await measure(engine, path);
        if (answer !== undefined) rows.push({ engine, format, ...answer });
      } catch (error) {
        failures.push(asFailure(`memory of ${engine} ${format}`, error));
      }
    }
  }
  return rows;
}

const entriesOf = <V>(record: Partial<Record<ModelFormat, V>>): [ModelFormat, V][] =>
  modelFormats.flatMap((format): [ModelFormat, V][] => {
    const value = record[format];
    return value === undefined ? [] : [[format, value]];
  });

/** A measured model before the peaks of the whole run are known. */
interface Measured {
  report: Omit<ModelReport, 'times'>;
  running: Running[];
}

/** Times everything that can run a model, in turns, and what memory each engine takes. What cannot run is a failure in the report. */
async function measureModel(model: BenchModel, options: SuiteOptions, { footprint, peaks }: SuiteTools): Promise<Measured> {
  const { name, source, formats, failures } = model;
  const files: Partial<Record<ModelFormat, Uint8Array>> = {};
  const bytes: Partial<Record<ModelFormat, number>> = {};
  for (const [format, path] of entriesOf(formats)) {
    files[format] = await readFile(path);
    bytes[format] = (await stat(path)).size;
  }
  if (options.engines.includes('native')) peaks.sample(options.isas);
  const running = await open(lanesOf(entriesOf(formats).map(([format]) => format), options), files, failures);
  try {
    const before = sampleCpu();
    const rounds = running.length === 0 ? 0 : await takeTurns(running.map(({ entry }) => entry), options.rounds);
    const others_cores = coresOfOthers(before, sampleCpu());
    const macs = await macsOf(files);
    return { report: { name, source, macs, bytes, rounds, others_cores, footprints: await footprintsOf(model, options, footprint), failures }, running };
  } finally {
    for (const { entry } of running) await entry.session.close();
  }
}

export type SuiteResult = Pick<BenchReport, 'seconds' | 'peaks' | 'summary' | 'formats' | 'models'>;

/** Measures models one after the other. Peaks are the best of the whole run, so shares are worked out at its end. */
export async function runSuite(models: AsyncIterable<BenchModel> | Iterable<BenchModel>, options: SuiteOptions, tools: SuiteTools): Promise<SuiteResult> {
  const started = performance.now();
  const measured: Measured[] = [];
  for await (const model of models) {
    const done = await measureModel(model, options, tools);
    tools.log(`${model.name}: ${done.report.rounds} rounds of ${done.running.length} contenders${done.report.failures.map(({ what, code }) => `; ${what}: ${code}`).join('')}`);
    measured.push(done);
  }
  const reports = measured.map(({ report, running }): ModelReport => ({ ...report, times: running.map((one) => timesRow(one, report.macs, tools.peaks)) }));
  return {
    seconds: (performance.now() - started) / 1000,
    peaks: tools.peaks.rows(),
    summary: summarizeModels(reports, options.isas, options.threads),
    formats: summarizeFormats(reports, options.isas, Math.min(...options.threads)),
    models: reports,
  };
}
