import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { measureFootprint } from '../../../deploy/bench/footprint.js';
import { listModels, prepareModel } from '../../../deploy/bench/models.js';
import { generatedNets } from '../../../deploy/bench/nets.js';
import { reportSchema, type BenchReport } from '../../../deploy/bench/report.js';
import { lanesOf } from '../../../deploy/bench/suite.js';
import { randomFeeds } from '../../../deploy/compress/random.js';
import { describeCpu } from '../../../kernels/binding/native.js';
import { fromNumbers } from '../../../runtime/graph/tensor-value.js';
import { inspectModel } from '../../../runtime/inspect.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import type { OnnxDimension } from '../../../runtime/onnx/types.js';
import { createSession } from '../../../runtime/session.js';
import { residualNet } from '../../runtime/quantize/networks.js';
import { modelBytes, node, randomInts, randomTensor } from '../../runtime/support/models.js';
import { nativeMissing } from '../../runtime/support/native.js';
import { oracleMissing } from '../../runtime/support/oracle.js';
import { captureCli } from '../cli/capture.js';

let folder = '';
let models = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sterna-suite-'));
  models = await mkdtemp(join(folder, 'models-'));
  await writeFile(join(models, 'tiny.onnx'), modelBytes(residualNet()));
  await writeFile(join(models, 'broken.onnx'), 'junk');
  await writeFile(join(models, 'notes.txt'), 'no model');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe('lanesOf', () => {
  const labels = (threads: number[]) => lanesOf(['int8', 'float32'], { isas: ['avx512vnni', 'avx2'], threads, engines: ['native', 'onnxruntime'] }).map(({ label }) => label);

  it('puts engines of one form next to each other, and slower instruction sets with the least threads only', () => {
    expect(labels([1, 2])).toEqual([
      'native:avx512vnni int8 1 thread', 'native:avx2 int8 1 thread', 'onnxruntime int8 1 thread',
      'native:avx512vnni float32 1 thread', 'native:avx2 float32 1 thread', 'onnxruntime float32 1 thread',
      'native:avx512vnni int8 2 threads', 'onnxruntime int8 2 threads', 'native:avx512vnni float32 2 threads', 'onnxruntime float32 2 threads',
    ]);
  });
});

it('fewer bits are native\'s alone', () => {
  const lanes = lanesOf(['int8', 'w46'], { isas: ['avx2'], threads: [1], engines: ['native', 'onnxruntime'] });
  expect(lanes.map(({ label }) => label)).toEqual(['native:avx2 int8 1 thread', 'onnxruntime int8 1 thread', 'native:avx2 w46 1 thread']);
});

describe('generated nets', () => {
  // Sums of outputs times weights of an output, by hand from the papers' tables.
  it.each([['mobilenet_v2', 300.8e6, 3.5e6], ['mobilenet_v3_small', 56.5e6, 1.5e6], ['resnet18_half', 486e6, 3.05e6], ['ds_cnn_1d', 10.4e6, 0.255e6]] as const)(
    '%s have the size of their models, the same bytes every time', async (name, macs, parameters) => {
      const make = generatedNets[name];
      if (make === undefined) throw new Error(`no net ${name}`);
      const bytes = make();
      expect(Buffer.compare(bytes, make())).toBe(0);
      const found = await inspectModel(bytes);
      expect(found.macs / macs).toBeCloseTo(1, 1);
      expect(found.parameters / parameters).toBeCloseTo(1, 1);
    }, 60_000);

  it.skipIf(oracleMissing !== undefined)(`compute what onnxruntime computes${oracleMissing === undefined ? '' : ` (${oracleMissing})`}`, async () => {
    for (const name of ['mobilenet_v3_small', 'ds_cnn_1d']) {
      const bytes = generatedNets[name]?.() ?? new Uint8Array();
      const [ours, theirs] = [await createSession(bytes), await createSession(bytes, { engine: 'onnxruntime' })];
      const feeds = randomFeeds(ours.inputs, 0);
      const [a, b] = [await ours.run(feeds), await theirs.run(feeds)].map((outputs) => Array.from(Object.values(outputs)[0]?.data ?? [], Number));
      const range = Math.max(...(b ?? []).map(Math.abs));
      expect(range).toBeGreaterThan(1e-3);
      expect(Math.max(...(a ?? []).map((value, i) => Math.abs(value - (b?.[i] ?? NaN))))).toBeLessThan(1e-4 * range);
      await Promise.all([ours.close(), theirs.close()]);
    }
  }, 60_000);
});

describe('prepareModel', () => {
  const options = () => ({ folder: models, generated: false, cache: join(folder, 'cache'), filter: '', lowBits: [] });
  const ops = async (path = ''): Promise<Set<string>> => new Set(parseModel(await readFile(path)).graph.nodes.map(({ op }) => op));

  it('finds what is there', async () => {
    expect(await listModels(options())).toEqual([{ name: 'broken', source: 'file' }, { name: 'tiny', source: 'file' }]);
    expect(await listModels({ ...options(), folder: undefined, generated: true, filter: '1d' })).toEqual([{ name: 'ds_cnn_1d', source: 'generated' }]);
    await expect(listModels({ ...options(), folder: join(folder, 'nowhere') })).rejects.toMatchObject({ code: 'E_FILE' });
  });

  it('takes a float model as it is, and quantizes it once', async () => {
    const first = await prepareModel({ name: 'tiny', source: 'file' }, options());
    expect(first.formats.float32).toBe(join(models, 'tiny.onnx'));
    expect(await ops(first.formats.int8)).toContain('QuantizeLinear');
    const cached = await readdir(join(folder, 'cache'));
    const before = await readFile(first.formats.int8 ?? '');
    expect((await prepareModel({ name: 'tiny', source: 'file' }, options())).formats).toEqual(first.formats);
    expect(await readdir(join(folder, 'cache'))).toEqual(cached);
    expect(await readFile(first.formats.int8 ?? '')).toEqual(before);
  });

  it('makes forms of fewer bits beside int8', async () => {
    const channels = [3, 8, 8, 8, 4];
    const layers = channels.slice(1).map((outputs, i) => ({ w: randomTensor([outputs, channels[i] ?? 1, 3, 3], i), name: `l${i + 1}`, from: i === 0 ? 'x' : `r${i}` }));
    await writeFile(join(models, 'deep.onnx'), modelBytes({
      inputs: { x: [1, 3, 8, 8] }, outputs: ['l4'], constants: Object.fromEntries(layers.map(({ w, name }) => [`${name}.w`, w])),
      nodes: layers.flatMap(({ name, from }, i) => [node('Conv', [from, `${name}.w`], [name], { pads: [1, 1, 1, 1] }), node('Relu', [name], [`r${i + 1}`])]).slice(0, -1),
    }));
    const { formats, failures } = await prepareModel({ name: 'deep', source: 'file' }, { ...options(), lowBits: ['w46', 'int4'] });
    await rm(join(models, 'deep.onnx'));
    expect(failures).toEqual([]);
    const levels = await Promise.all([formats.w46, formats.int4].map(async (path = '') => parseModel(await readFile(path)).metadata.get('sterna.levels') ?? ''));
    expect(levels.map((text) => [...new Set(Object.values(JSON.parse(text) as Record<string, number>))].sort((a, b) => a - b))).toEqual([[19, 29], [15, 16]]);
  });

  it('takes a quantized model as it is', async () => {
    const { formats } = await prepareModel({ name: 'tiny', source: 'file' }, options());
    await writeFile(join(models, 'given.onnx'), await readFile(formats.int8 ?? ''));
    expect((await prepareModel({ name: 'given', source: 'file' }, options())).formats).toEqual({ int8: join(models, 'given.onnx') });
    await rm(join(models, 'given.onnx'));
  });

  it('expands weights that alone are 8-bit', async () => {
    const weights = { wq: randomInts('int8', [4, 3, 1, 1], 1, -127, 127), scale: fromNumbers('float32', [], [0.01]), zero: fromNumbers('int8', [], [0]) };
    await writeFile(join(models, 'w8.onnx'), modelBytes({
      inputs: { x: [1, 3, 4, 4] }, constants: weights, outputs: ['y'],
      nodes: [node('DequantizeLinear', ['wq', 'scale', 'zero'], ['w']), node('Conv', ['x', 'w'], ['y'])],
    }));
    const { formats, failures } = await prepareModel({ name: 'w8', source: 'file' }, options());
    expect(failures).toEqual([]);
    expect([...(await ops(formats.float32))]).toEqual(['Conv']);
    expect(await ops(formats.int8)).toContain('QuantizeLinear');
    await rm(join(models, 'w8.onnx'));
  });

  it('reports what cannot be read', async () => {
    expect(await prepareModel({ name: 'broken', source: 'file' }, options())).toMatchObject({ formats: {}, failures: [{ what: 'float32', code: 'E_MODEL_MALFORMED' }] });
  });
});

describe.skipIf(nativeMissing !== undefined)(`sterna bench-suite${nativeMissing === undefined ? '' : ` (${nativeMissing})`}`, () => {
  const readme = () => join(folder, 'README.md');
  const output = () => join(folder, 'report.json');
  const quick = (...more: string[]) => captureCli(['bench-suite', '--models', models, '--no-generated', '--quick', '--seconds', '0.01', '--output', output(), ...more]);

  it('measures a folder, writes the report and the table, and the same table again from the report', async () => {
    await writeFile(readme(), 'Title\n<!-- bench:begin -->\n<!-- bench:end -->\nend\n');
    const { code, out, err } = await quick('--tables', readme(), '--threads', '2,1', '--isa', `${describeCpu().selected},ref`, '--json');
    expect([code, err]).toEqual([1, '']); // a contender failed
    const report: BenchReport = reportSchema.parse(JSON.parse(out));
    expect(reportSchema.parse(JSON.parse(await readFile(output(), 'utf8')))).toEqual(report);
    expect(report).toMatchObject({ threads: [1, 2], isas: [describeCpu().selected, 'ref'] });
    const [broken, tiny] = report.models;
    expect(broken).toMatchObject({ name: 'broken', rounds: 0, times: [], failures: [{ code: 'E_MODEL_MALFORMED' }] });
    expect(tiny).toMatchObject({ name: 'tiny', macs: 64 * (216 + 72 + 64 + 64) + 40, failures: [] });
    expect(tiny?.rounds).toBeGreaterThanOrEqual(2);
    expect(tiny?.times.filter(({ engine }) => engine === 'native')).toHaveLength(6);
    for (const { min_ms, p50_ms, p99_ms } of tiny?.times ?? []) expect(min_ms > 0 && min_ms <= p50_ms && p50_ms <= p99_ms).toBe(true);
    const table = await readFile(readme(), 'utf8');
    expect(table).toMatch(/^Title\n<!-- bench:begin -->\n.*\n<!-- bench:end -->\nend\n$/s);
    expect(table).toContain('| tiny | 0.0 |');
    await writeFile(readme(), 'Title\n<!-- bench:begin -->\n<!-- bench:end -->\nend\n');
    expect((await captureCli(['bench-suite', '--from', output(), '--tables', readme()])).code).toBe(0);
    expect(await readFile(readme(), 'utf8')).toBe(table);
  }, 60_000);

  it('measures with a batch of 1 what leaves the batch open, and names what it cannot run', async () => {
    const kept = await mkdtemp(join(folder, 'open-'));
    const relu = (dims: OnnxDimension[]): Uint8Array => modelBytes({ inputs: { x: dims }, nodes: [node('Relu', ['x'], ['y'])], outputs: ['y'] });
    await writeFile(join(kept, 'batch.onnx'), relu(['N', 3, 8, 8]));
    await writeFile(join(kept, 'height.onnx'), relu([1, 3, 'H', 8]));
    await writeFile(join(kept, 'rows.onnx'), modelBytes({
      inputs: { x: [1, 3], rows: [8] }, types: { rows: 'int64' }, nodes: [node('Gather', ['x', 'rows'], ['y'])], outputs: ['y'],
    })); // It opens, and refuses the indices that it is fed.
    const { code, out } = await captureCli(['bench-suite', '--models', kept, '--no-generated', '--quick', '--seconds', '0.01', '--output', output(), '--json']);
    const { models: [batch, height, rows] } = reportSchema.parse(JSON.parse(out));
    expect(code).toBe(1); // A contender failed.
    expect(batch?.times.some(({ engine }) => engine === 'native')).toBe(true);
    expect(height).toMatchObject({ name: 'height', rounds: 0, times: [], failures: [{ what: 'float32', code: 'E_OPTION' }] });
    expect(rows).toMatchObject({ name: 'rows', rounds: 0, times: [] });
    expect(rows?.failures.map(({ what }) => what)).toContain(`native:${describeCpu().selected} float32 1 thread`);
  }, 60_000);

  it.skipIf(oracleMissing !== undefined)(`sets onnxruntime against it${oracleMissing === undefined ? '' : ` (${oracleMissing})`}`, async () => {
    const { code, out } = await quick('--filter', 'tiny', '--json');
    expect(code).toBe(0);
    const { summary, models: [tiny] } = reportSchema.parse(JSON.parse(out));
    expect(summary.map(({ comparison, threads, models: count }) => [comparison, threads, count])).toEqual([['int8_vs_int8', 1, 1], ['int8_vs_float32', 1, 1], ['float32_vs_float32', 1, 1]]);
    const p50 = (engine: string, format: string): number => tiny?.times.find((row) => row.engine === engine && row.format === format)?.p50_ms ?? NaN;
    expect(summary[1]?.geometric_mean_p50).toBeCloseTo(p50('onnxruntime', 'float32') / p50('native', 'int8'), 9);
  }, 60_000);

  it.each([
    ['a folder that is not there', ['--models', '/nowhere'], 3, 'E_FILE'],
    ['a filter that nothing passes', ['--filter', 'no such model'], 1, 'E_BENCH'],
    ['a document that is not there', ['--tables', '/nowhere/README.md'], 3, 'E_FILE'],
    ['a document without markers', ['--tables', '/dev/null'], 1, 'E_BENCH'],
    ['a report that is none', ['--from', '/dev/null'], 1, 'E_BENCH'],
    ['seconds that are none', ['--seconds', '0'], 2, 'E_USAGE'],
  ])('refuses %s', async (_, argv, code, error) => {
    const result = await quick(...argv, '--json');
    expect(result.code).toBe(code);
    expect(JSON.parse(result.out)).toMatchObject({ error: { code: error } });
  });
});

const compiled = new URL('../../../dist/deploy/bench/footprint.js', import.meta.url);

describe.skipIf(!existsSync(fileURLToPath(compiled)))('measureFootprint (needs dist)', () => {
  it('says what a process takes that only runs the model, and why one failed', async () => {
    const { measureFootprint: measure } = (await import(compiled.href)) as { measureFootprint: typeof measureFootprint };
    const found = await measure('native', join(models, 'tiny.onnx'));
    expect(found?.load_ms).toBeGreaterThan(0);
    expect(found?.rss_before_bytes).toBeGreaterThan(10e6);
    expect(found?.rss_bytes).toBeGreaterThan(10e6);
    await expect(measure('native', join(models, 'broken.onnx'))).rejects.toMatchObject({ code: 'E_BENCH', message: expect.stringContaining('not an ONNX model') as string });
  }, 60_000);

  it('measures nothing from uncompiled sources', async () => {
    expect(await measureFootprint('native', join(models, 'tiny.onnx'))).toBeUndefined();
  });
});
