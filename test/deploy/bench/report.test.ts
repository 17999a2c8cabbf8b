import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { benchMarkdown, replaceBench, speedLines } from '../../../deploy/bench/documents.js';
import { reportSchema, summarizeFormats, summarizeModels, type BenchReport, type Footprint, type ModelReport, type Times } from '../../../deploy/bench/report.js';

const times = (engine: Times['engine'], format: Times['format'], p50_ms: number, threads = 1, isa: string | null = engine === 'native' ? 'fast' : null): Times =>
  ({ engine, isa, format, threads, min_ms: p50_ms / 2, p50_ms, p99_ms: 2 * p50_ms, cpu_ms: p50_ms ** 2, load_ms: 3, arena_bytes: engine === 'native' ? 123_456 : null, gmac_s: 10, share_of_peak: engine === 'native' ? 0.5 : null });

const footprint = (engine: Footprint['engine'], rss_bytes: number): Footprint => ({ engine, format: 'int8', rss_bytes, rss_before_bytes: 1, load_ms: 7 });

const model = (name: string, rows: Times[], rest: Partial<ModelReport> = {}): ModelReport =>
  ({ name, source: 'file', macs: 2e6, bytes: { int8: 1, float32: 4 }, rounds: 5, others_cores: 0.25, times: rows, footprints: [], failures: [], ...rest });

/** `won` is twice as fast, four times against float32; `lost` is half as fast, and has no float32 form. */
const models: ModelReport[] = [
  model('won', [
    times('native', 'int8', 1), times('onnxruntime', 'int8', 2), times('native', 'float32', 2), times('onnxruntime', 'float32', 4),
    times('native', 'int8', 0.5, 2), times('onnxruntime', 'int8', 1.6, 2), times('native', 'w46', 0.8),
  ], { source: 'generated', footprints: [footprint('native', 60e6), footprint('onnxruntime', 90e6)] }),
  model('lost', [times('native', 'int8', 4), times('onnxruntime', 'int8', 2), times('native', 'int8', 8, 1, 'slow'), times('native', 'w46', 5), times('native', 'w46', 4, 1, 'slow')], { failures: [{ what: 'native float32', code: 'E_MODEL_OP', message: 'no' }] }),
];

const report: BenchReport = {
  schema_version: 2,
  date: '2026-01-02T03:04:05.000Z',
  seconds: 12,
  versions: { sterna: '1.2.3', onnxruntime: '9.9.9', node: '22.0.0' },
  cpu: { model: 'Some CPU', arch: 'x86_64', cores: 2 },
  selected_isa: 'fast',
  isas: ['fast', 'slow'],
  threads: [1, 2],
  peaks: [{ isa: 'fast', instruction: 'dot', format: 'int8', gmac_s: 123.4 }],
  summary: summarizeModels(models, ['fast', 'slow'], [1, 2]),
  formats: summarizeFormats(models, ['fast', 'slow'], 1),
  models,
};

describe('summarizeModels', () => {
  const row = (comparison: string, isa: string, threads: number) => report.summary.find((one) => one.comparison === comparison && one.isa === isa && one.threads === threads);

  it('takes means of ratios and names the worst', () => {
    expect(row('int8_vs_int8', 'fast', 1)).toMatchObject({ models: 2, worst: { model: 'lost', ratio_p50: 0.5 } });
    expect(row('int8_vs_int8', 'fast', 1)?.geometric_mean_p50).toBeCloseTo(1, 12);
    expect(row('int8_vs_float32', 'fast', 1)).toMatchObject({ models: 1, worst: { model: 'won', ratio_p50: 4 } });
    expect(row('float32_vs_float32', 'fast', 1)?.geometric_mean_p50).toBeCloseTo(2, 12);
    expect(row('int8_vs_float32', 'fast', 1)?.geometric_mean_cpu).toBeCloseTo(16, 12);
    expect(row('int8_vs_int8', 'fast', 2)?.geometric_mean_cpu).toBeNull();
    expect(row('int8_vs_int8', 'slow', 1)?.worst).toEqual({ model: 'lost', ratio_p50: 0.25 });
  });

  it('has no row for what nothing was measured with', () => {
    expect(row('float32_vs_float32', 'fast', 2)).toBeUndefined();
    expect(summarizeModels([], ['fast'], [1])).toEqual([]);
  });
});

describe('summarizeFormats', () => {
  it('sets fewer bits against int8 on each instruction set, best and worst by name', () => {
    expect(report.formats).toEqual([
      { format: 'w46', isa: 'fast', threads: 1, models: 2, geometric_mean_p50: expect.closeTo(1, 12) as number, best: { model: 'won', ratio_p50: 1.25 }, worst: { model: 'lost', ratio_p50: 0.8 } },
      { format: 'w46', isa: 'slow', threads: 1, models: 1, geometric_mean_p50: expect.closeTo(2, 12) as number, best: { model: 'lost', ratio_p50: 2 }, worst: { model: 'lost', ratio_p50: 2 } },
    ]);
  });

  it('is a table of the document, with what loses in bold', () => {
    expect(benchMarkdown(report)).toContain('| w46 | fast | 2 | 1.00 | 1.25 (won) | **0.80** (lost) |');
    expect(benchMarkdown({ ...report, formats: [] })).not.toContain('Fewer bits');
  });
});

describe('reportSchema', () => {
  it('takes a report through JSON, and refuses others', () => {
    expect(reportSchema.parse(JSON.parse(JSON.stringify(report)))).toEqual(report);
    expect(reportSchema.safeParse({ ...report, schema_version: 1 }).success).toBe(false);
    expect(reportSchema.safeParse({ ...report, models: [{ name: 'x' }] }).success).toBe(false);
  });
});

describe('speedLines', () => {
  it('is a list whose lines fit the README, whatever the names are', () => {
    const long = { ...report, summary: report.summary.map((row) => ({ ...row, worst: { ...row.worst, model: 'a_model_of_a_long_name' } })) };
    const lines = speedLines(long).split('\n');
    expect(Math.max(...lines.map(({ length }) => length))).toBeLessThanOrEqual(120);
    expect(lines.slice(2).every((line) => /^(\* |  )\S/.test(line))).toBe(true);
    expect(lines.filter((line) => line.startsWith('* '))).not.toHaveLength(0);
  });
});

describe('benchMarkdown', () => {
  const text = benchMarkdown(report);
  const row = (start: string) => text.split('\n').find((line) => line.startsWith(`| ${start}`)) ?? '';

  it('names the conditions', () => {
    expect(text.replaceAll('\n', ' ')).toContain('2026-01-02, Some CPU (x86_64, 2 cores), Sterna 1.2.3 on fast, onnxruntime 9.9.9, Node 22.0.0. Other processes kept 0.25 cores busy meanwhile.');
    expect(benchMarkdown({ ...report, versions: { ...report.versions, onnxruntime: null } })).toContain('no onnxruntime');
  });

  it('shows means, and prints in bold where Sterna loses', () => {
    expect(row('int8, onnxruntime on the same int8 file | fast | 1')).toBe('| int8, onnxruntime on the same int8 file | fast | 1 | 2 | 1.00 | 1.00 | 1.00 | **0.50** (lost) |');
    expect(row('int8, onnxruntime on the float32 original | fast | 1')).toContain('| 1 | 4.00 | 4.00 | 16.00 | 4.00 (won) |');
  });

  it('has a row for each model, the worst first', () => {
    expect(row('lost')).toBe('| lost | 2.0 | 4.00 / 2.00 | **0.50** |  |  |  | 50 % / - | 0.12 |  |  |');
    expect(row('won')).toBe('| won (generated) | 2.0 | 1.00 / 2.00 | 2.00 | 4.00 | 2.00 / 4.00 | 2.00 | 50 % / 50 % | 0.12 | 7 / 7 | 60.0 / 90.0 |');
    expect(text.indexOf('| lost')).toBeLessThan(text.indexOf('| won'));
  });

  it('tells scaling, peaks and failures', () => {
    expect(text).toContain('2 threads are 2.00 times as fast as 1 (onnxruntime: 1.25), int8, geometric mean.');
    expect(text).toContain('Measured peaks, GMAC/s of 1 thread: dot (fast) 123.');
    expect(text).toContain('Not measured: lost, native float32: E_MODEL_OP.');
  });
});

describe('replaceBench', () => {
  const document = 'before\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nafter\n';

  it('replaces what is between the markers, again and again', () => {
    const once = replaceBench(document, 'new $1');
    expect(once).toBe('before\n<!-- bench:begin -->\nnew $1\n<!-- bench:end -->\nafter\n');
    expect(replaceBench(once, 'new $1')).toBe(once);
  });

  it.each(['none', '<!-- bench:begin --> only', '<!-- bench:end --><!-- bench:begin -->', document + document])('refuses %j', (text) => {
    expect(() => replaceBench(text, 'new')).toThrow(expect.objectContaining({ code: 'E_BENCH' }));
  });

  it.each(['README.md', 'deploy/BENCHMARKS.md'])('finds its place in %s', (path) => {
    const document = readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8');
    expect(replaceBench(document, 'x').length).toBeGreaterThan(100);
  });
});
