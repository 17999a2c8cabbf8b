import { z } from 'zod';
import { geometricMean, leastBy } from './statistics.js';

/** Version of the JSON that `npm run bench` writes; raised when a field changes its meaning or goes. */
export const reportVersion = 2;

/** The forms that onnxruntime is compared on, then those of fewer bits, which it would run as int8. */
const formatSchema = z.enum(['int8', 'float32', 'w46', 'int4', 'ternary']);
export type ModelFormat = z.infer<typeof formatSchema>;
export const modelFormats = formatSchema.options;
export const lowBitFormats = ['w46', 'int4', 'ternary'] as const satisfies readonly ModelFormat[];
export type LowBitFormat = (typeof lowBitFormats)[number];
export const isLowBit = (format: ModelFormat): format is LowBitFormat => (lowBitFormats as readonly ModelFormat[]).includes(format);

/** One engine on one form of a model, with so many threads. */
const timesSchema = z.object({
  engine: z.enum(['native', 'onnxruntime']),
  /** Null: onnxruntime takes what the CPU has. */
  isa: z.string().nullable(),
  format: formatSchema,
  threads: z.number(),
  min_ms: z.number(),
  p50_ms: z.number(),
  p99_ms: z.number(),
  /** Median CPU time of a run, all threads of the process. */
  cpu_ms: z.number(),
  /** From bytes to a session, in the process of the bench (warm code). */
  load_ms: z.number(),
  arena_bytes: z.number().nullable(),
  /** By the median: 1e9 multiply-adds a second. */
  gmac_s: z.number().nullable(),
  /** Native only: of the measured peak of its instruction set in this format, times threads. */
  share_of_peak: z.number().nullable(),
});
export type Times = z.infer<typeof timesSchema>;

/** A process that loads one model, runs it a few times, and does nothing else; 1 thread. */
const footprintSchema = z.object({
  engine: z.enum(['native', 'onnxruntime']),
  format: formatSchema,
  /** Resident after the runs, and before the model was loaded (Node and our own code). */
  rss_bytes: z.number(),
  rss_before_bytes: z.number(),
  /** From bytes to a session in a fresh process. */
  load_ms: z.number(),
});
export type Footprint = z.infer<typeof footprintSchema>;

const failureSchema = z.object({ what: z.string(), code: z.string(), message: z.string() });

const modelSchema = z.object({
  name: z.string(),
  source: z.enum(['file', 'generated']),
  /** Multiply-adds of one inference. */
  macs: z.number(),
  /** Bytes of the ONNX file by format. */
  bytes: z.partialRecord(formatSchema, z.number()),
  /** Timed runs of each contender. */
  rounds: z.number(),
  /** Cores that other processes kept busy meanwhile, on average: what waits are due to. */
  others_cores: z.number(),
  times: z.array(timesSchema),
  footprints: z.array(footprintSchema),
  failures: z.array(failureSchema),
});
export type ModelReport = z.infer<typeof modelSchema>;

/** Which form of native is set against which form of onnxruntime. */
export const comparisons = {
  int8_vs_int8: ['int8', 'int8'],
  int8_vs_float32: ['int8', 'float32'],
  float32_vs_float32: ['float32', 'float32'],
} as const;
const comparisonSchema = z.enum(['int8_vs_int8', 'int8_vs_float32', 'float32_vs_float32']);
export type Comparison = z.infer<typeof comparisonSchema>;

const summarySchema = z.object({
  comparison: comparisonSchema,
  isa: z.string(),
  threads: z.number(),
  models: z.number(),
  /** onnxruntime / native, so above 1 native is faster. */
  geometric_mean_p50: z.number(),
  geometric_mean_min: z.number(),
  /** Of CPU time; null with more than 1 thread, where spinning counts as work. */
  geometric_mean_cpu: z.number().nullable(),
  worst: z.object({ model: z.string(), ratio_p50: z.number() }),
});
export type SummaryRow = z.infer<typeof summarySchema>;

/** A format of fewer bits against int8, both native, on one instruction set with the least number of threads. */
const formatSummarySchema = z.object({
  format: z.enum(lowBitFormats),
  isa: z.string(),
  threads: z.number(),
  models: z.number(),
  /** int8 / format by the median, so above 1 fewer bits are faster. */
  geometric_mean_p50: z.number(),
  best: z.object({ model: z.string(), ratio_p50: z.number() }),
  worst: z.object({ model: z.string(), ratio_p50: z.number() }),
});
export type FormatSummary = z.infer<typeof formatSummarySchema>;

/** What `npm run bench` writes. */
export const reportSchema = z.object({
  schema_version: z.literal(reportVersion),
  /** ISO 8601, UTC. */
  date: z.string(),
  seconds: z.number(),
  versions: z.object({ sterna: z.string(), onnxruntime: z.string().nullable(), node: z.string() }),
  cpu: z.object({ model: z.string(), arch: z.string(), cores: z.number() }),
  /** The one that native chooses by itself. */
  selected_isa: z.string(),
  isas: z.array(z.string()),
  threads: z.array(z.number()),
  peaks: z.array(z.object({ isa: z.string(), instruction: z.string(), format: formatSchema, gmac_s: z.number() })),
  summary: z.array(summarySchema),
  formats: z.array(formatSummarySchema),
  models: z.array(modelSchema),
});
export type BenchReport = z.infer<typeof reportSchema>;

export type TimesKey = Pick<Times, 'engine' | 'format' | 'threads'> & { isa?: string };

/** The times of one contender, if it ran. */
export function timesOf({ times }: Pick<ModelReport, 'times'>, { engine, format, threads, isa }: TimesKey): Times | undefined {
  return times.find((row) => row.engine === engine && row.format === format && row.threads === threads && (isa === undefined || row.isa === isa));
}

export type Figure = 'p50_ms' | 'min_ms' | 'cpu_ms';

/** onnxruntime / native by the given figure; undefined unless both ran. */
export function ratioOf(model: Pick<ModelReport, 'times'>, comparison: Comparison, { isa, threads }: { isa: string; threads: number }, figure: Figure = 'p50_ms'): number | undefined {
  const [own, other] = comparisons[comparison];
  const native = timesOf(model, { engine: 'native', format: own, threads, isa });
  const onnxruntime = timesOf(model, { engine: 'onnxruntime', format: other, threads });
  return native === undefined || onnxruntime === undefined ? undefined : onnxruntime[figure] / native[figure];
}

/** A row for each comparison, instruction set and number of threads that any model was measured with. */
export function summarizeModels(models: readonly ModelReport[], isas: readonly string[], threads: readonly number[]): SummaryRow[] {
  const keys = isas.flatMap((isa) => threads.map((count) => ({ isa, threads: count })));
  return comparisonSchema.options.flatMap((comparison) =>
    keys.flatMap((key): SummaryRow[] => {
      const ratios = models.flatMap((model) => {
        const by = (figure: Figure): number => ratioOf(model, comparison, key, figure) ?? NaN;
        return Number.isNaN(by('p50_ms')) ? [] : [{ model: model.name, ratio_p50: by('p50_ms'), min: by('min_ms'), cpu: by('cpu_ms') }];
      });
      const worst = leastBy(ratios, ({ ratio_p50 }) => ratio_p50);
      if (worst === undefined) return [];
      return [{
        comparison,
        ...key,
        models: ratios.length,
        geometric_mean_p50: geometricMean(ratios.map(({ ratio_p50 }) => ratio_p50)),
        geometric_mean_min: geometricMean(ratios.map(({ min }) => min)),
        geometric_mean_cpu: key.threads === 1 ? geometricMean(ratios.map(({ cpu }) => cpu)) : null,
        worst: { model: worst.model, ratio_p50: worst.ratio_p50 },
      }];
    }),
  );
}

/** A row for each format of fewer bits and instruction set that any model was measured with. */
export function summarizeFormats(models: readonly ModelReport[], isas: readonly string[], threads: number): FormatSummary[] {
  return lowBitFormats.flatMap((format) =>
    isas.flatMap((isa): FormatSummary[] => {
      const ratios = models.flatMap((model) => {
        const [int8, low] = (['int8', format] as const).map((one) => timesOf(model, { engine: 'native', format: one, threads, isa }));
        return int8 === undefined || low === undefined ? [] : [{ model: model.name, ratio_p50: int8.p50_ms / low.p50_ms }];
      });
      const [worst, best] = [leastBy(ratios, ({ ratio_p50 }) => ratio_p50), leastBy(ratios, ({ ratio_p50 }) => -ratio_p50)];
      if (worst === undefined || best === undefined) return [];
      return [{ format, isa, threads, models: ratios.length, geometric_mean_p50: geometricMean(ratios.map(({ ratio_p50 }) => ratio_p50)), best, worst }];
    }),
  );
}
