import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { modelBytes } from '../../runtime/support/models.js';
import { oracleMissing } from '../../runtime/support/oracle.js';
import { middleNet, residualNet } from '../../runtime/quantize/networks.js';
import { captureCli } from './capture.js';

let folder = '';
let float = '';
let int8 = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sterna-cli-'));
  float = join(folder, 'float.onnx');
  int8 = join(folder, 'out', 'int8.onnx');
  await writeFile(float, modelBytes({ ...residualNet(), outputs: ['logits'] }));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function json(argv: string[]): Promise<Record<string, unknown>> {
  const { code, out, err } = await captureCli([...argv, '--json']);
  expect(code, out + err).toBe(0);
  expect(out.trim().split('\n')).toHaveLength(1);
  return JSON.parse(out) as Record<string, unknown>;
}

describe('sterna compress', () => {
  it('writes the model and reports every layer', async () => {
    const report = await json(['compress', float, '-o', int8, '--format', 'int8', '--calibrate', 'random:8', '--engine', 'native']);
    expect(report).toMatchObject({ input_bytes: (await readFile(float)).length, output_bytes: (await readFile(int8)).length, method: expect.stringMatching(/^(minmax|percentile|mse)$/) as string, calibration_samples: 8 });
    expect(report['output_cosine']).toBeGreaterThan(0.999);
    const layers = report['layers'] as Record<string, unknown>[];
    expect(layers[0]).toEqual({ name: 'c1', op: 'Conv+PRelu', sqnr_db: expect.any(Number) as number, format: 'int8' });
  });

  it('prints a table, and warnings on stderr', async () => {
    const { code, out, err } = await captureCli(['compress', float, '-o', int8, '--calibrate', 'random:4', '--method', 'mse', '--engine', 'native']);
    expect([code, err]).toEqual([0, 'sterna: measuring channels\nsterna: calibrating\nsterna: measuring the result\n']);
    expect(out).toMatch(/layer +op +format +SQNR dB/);
    expect(out).toMatch(/c1 +Conv\+PRelu +int8 +\d\d\.\d/);
    expect(out).toContain('calibrated on 4 samples (mse)');
    expect(out).toContain('the same largest value in 100 % of the measured samples');
  });

  it('names dead channels, in a line each and in the table', async () => {
    const spec = residualNet();
    const w2 = Float32Array.from(spec.constants?.['w2']?.data ?? [], Number).fill(0, 9, 27);
    const dead = join(folder, 'dead.onnx');
    await writeFile(dead, modelBytes({ ...spec, constants: { ...spec.constants, w2: { dtype: 'float32', dims: [8, 1, 3, 3], data: w2 } } }));
    const argv = ['compress', dead, '-o', join(folder, 'dead.int8.onnx'), '--calibrate', 'random:4', '--engine', 'native'];
    const { code, out, err } = await captureCli(argv);
    expect(code).toBe(0);
    expect(err).toMatch(/warning: Conv\+Relu 'c2': all weights of output channels 1, 2 \(2 of 8\) are zero/);
    expect(out).toMatch(/c2 +Conv\+Relu +int8 +\d\d\.\d +2 of 8 outputs dead\n/);
    const { warnings } = await json(argv);
    expect(warnings).toContainEqual(expect.objectContaining({ kind: 'dead_weights', layer: 'c2', channels: [1, 2], of: 8 }));
  });

  it('chooses formats for a target, and draws what was to be had', async () => {
    const [middle, plot] = [join(folder, 'middle.onnx'), join(folder, 'curve.svg')];
    await writeFile(middle, modelBytes(middleNet()));
    const { code, out } = await captureCli(['compress', middle, '-o', join(folder, 'few.onnx'), '--format', 'auto', '--target', 'a72', '--max-drop', '0.5', '--plot', plot, '--calibrate', 'random:6', '--engine', 'native']);
    expect(code).toBe(0);
    expect(out).toMatch(/layers below int8 +M instructions on a72 +summed drop/);
    expect(out).toMatch(/chosen: 2 layers below int8/);
    expect(out).toMatch(/c3 +Conv\+PRelu +int8 \(depthwise\)/);
    expect(await readFile(plot, 'utf8')).toContain('</svg>');
  });

  it('takes levels, and says which layers have them', async () => {
    const middle = join(folder, 'middle.onnx');
    await writeFile(middle, modelBytes(middleNet()));
    const report = await json(['compress', middle, '-o', join(folder, 'few.onnx'), '--format', 'w46', '--levels', '23', '--max-drop', '1', '--calibrate', 'random:6', '--engine', 'native']);
    expect((report['layers'] as Record<string, unknown>[]).find(({ name }) => name === 'c4')).toMatchObject({ format: 'w46', levels: { weights: 23, activations: 23 } });
  });

  it.each([
    ['levels that break the product bound', (): string[] => ['compress', float, '-o', int8, '--calibrate', 'random:1', '--format', 'w46', '--levels', '19/31'], 3, 'E_QUANTIZE'],
    ['levels that are none', (): string[] => ['compress', float, '-o', int8, '--calibrate', 'random:1', '--format', 'w46', '--levels', 'many'], 2, 'E_USAGE'],
    ['a calibration folder that is not there', (): string[] => ['compress', float, '-o', int8, '--calibrate', join(folder, 'nowhere')], 3, 'E_FILE'],
    ['a model that is none', (): string[] => ['compress', join(folder, 'junk.onnx'), '-o', int8, '--calibrate', 'random:1'], 3, 'E_MODEL_MALFORMED'],
    ['no samples', (): string[] => ['compress', float, '-o', int8, '--calibrate', 'random:0'], 3, 'E_QUANTIZE'],
    ['a result that cannot be written', (): string[] => ['compress', float, '-o', join(float, 'x.onnx'), '--calibrate', 'random:1', '--engine', 'native'], 1, 'E_OUTPUT'],
    ['an unknown method', (): string[] => ['compress', float, '-o', int8, '--calibrate', 'random:1', '--method', 'guess'], 2, 'E_USAGE'],
  ])('fails on %s', async (_, argv, code, error) => {
    await writeFile(join(folder, 'junk.onnx'), 'junk');
    const result = await captureCli([...argv(), '--json']);
    expect(result.code).toBe(code);
    expect(JSON.parse(result.out)).toMatchObject({ error: { code: error } });
  });

  it('leaves nothing half-written behind', () => {
    expect(existsSync(`${int8}.${process.pid}.part`)).toBe(false);
  });
});

describe('sterna inspect', () => {
  it('tells layers, kernels and memory of both formats', async () => {
    const before = await json(['inspect', float]);
    const after = await json(['inspect', int8]);
    const formats = (report: Record<string, unknown>) => new Set((report['layers'] as { format: string }[]).map(({ format }) => format));
    expect(formats(before).has('int8')).toBe(false);
    expect(formats(after).has('int8')).toBe(true);
    expect(after).toMatchObject({ kind: 'model', inputs: [{ name: 'x', type: 'float32', dims: [1, 3, 8, 8] }], outputs: [{ name: 'logits' }], isa: expect.any(String) as string });
    // 3x3x3x8 + 3x3x8 + 8x8 + 8x8 products for each of 64 pixels, and 8 x 5.
    expect(before['macs']).toBe(64 * (216 + 72 + 64 + 64) + 40);
    expect(after['macs']).toBe(before['macs']);
    expect(after['arena_bytes']).toBeLessThan(Number(before['arena_bytes']));
    // A run can stop behind a layer, compute a part of most layers, or all of them.
    const { splits, parts } = after as { splits: { name: string; share: number }[]; parts: { share: number; layers: number; of: number; kept_bytes: number } };
    expect(splits.length).toBeGreaterThan(0);
    for (const { share } of splits) expect(share > 0 && share < 1).toBe(true);
    expect(parts).toMatchObject({ layers: expect.any(Number) as number, of: expect.any(Number) as number });
    expect(parts.share).toBeGreaterThan(0.9);
    expect(parts.kept_bytes).toBeGreaterThan(0);
    for (const layer of after['layers'] as { kernel: string }[]) expect(layer.kernel).not.toBe('');
  });

  it('prints a table', async () => {
    const { code, out } = await captureCli(['inspect', int8]);
    expect(code).toBe(0);
    expect(out).toMatch(/layer +op +bits +format +kernel +input +output +MACs +parameters +why/);
    expect(out).toMatch(/at the pixels +nothing of the model\n *at the features +after .* % of the MACs.*\n *with a part +the changed cells of \d+ of \d+ layers.*\n *with all of it +[\d.]+ ?k? MACs/);
    expect(out).toMatch(/ConvQ8 +8 +int8 .*256 codes x 255 levels/);
  });

  it('takes a broken package for a package', async () => {
    await writeFile(join(folder, 'broken.sterna'), 'not a tar');
    expect(JSON.parse((await captureCli(['inspect', join(folder, 'broken.sterna'), '--json'])).out)).toMatchObject({ error: { code: 'E_PACKAGE' } });
  });
});

describe('sterna bench', () => {
  it('times native alone, and layer by layer', async () => {
    const report = await json(['bench', int8, '--engine', 'native', '--runs', '3', '--profile', '--isa', 'ref']);
    expect(report).toMatchObject({ model: int8, threads: 1, speedup_p50: null, speedup_min: null });
    expect(Object.keys(report)).toEqual(expect.arrayContaining(['model', 'threads', 'cpu', 'isa', 'engines']));
    const { native } = report['engines'] as Record<string, Record<string, number>>;
    expect(Object.keys(native ?? {})).toEqual(['min_ms', 'p50_ms', 'p99_ms', 'cpu_ms', 'load_ms', 'arena_bytes', 'load_cached_ms', 'recompilations']);
    expect(native?.['recompilations']).toBe(0);
    expect(native?.['load_cached_ms']).toBeGreaterThan(0);
    expect(native?.['min_ms']).toBeGreaterThan(0);
    expect(native?.['p50_ms']).toBeGreaterThanOrEqual(native?.['min_ms'] ?? NaN);
    const [profile, layers] = [report['profile'], report['layers']] as [Record<string, number>[], Record<string, number>[]];
    const keys = ['op', 'kernel', 'format', 'ms', 'macs', 'gmac_s', 'share_of_peak', 'bytes_read', 'bytes_written'];
    expect(Object.keys(profile[0] ?? {})).toEqual(['layers', ...keys]);
    expect(Object.keys(layers[0] ?? {})).toEqual(['name', ...keys]);
    for (const field of ['macs', 'bytes_read', 'bytes_written']) {
      const sum = (rows: Record<string, number>[]): number => rows.reduce((total, row) => total + (row[field] ?? NaN), 0);
      expect(sum(profile)).toBe(sum(layers));
    }
    expect(layers.filter(({ macs = 0 }) => macs > 0).every(({ gmac_s, share_of_peak }) => (gmac_s ?? 0) > 0 && share_of_peak === null)).toBe(true);
  });

  it('prints a table by op, and one by layer on request', async () => {
    const header = 'ms +time +MACs +GMAC/s +of peak +read +written';
    const brief = await captureCli(['bench', int8, '--engine', 'native', '--runs', '1', '--profile']);
    expect(brief.out).toMatch(new RegExp(`op +kernel +layers +${header}`));
    expect(brief.out).not.toMatch(/layer +op +kernel/);
    const long = await captureCli(['bench', int8, '--engine', 'native', '--runs', '1', '--layers']);
    expect(long.out).toMatch(new RegExp(`layer +op +kernel +${header}`));
    expect(long.out).toMatch(/^sum_quantized|^c1|^sum/m);
  });

  it('sets instruction sets against each other', async () => {
    const report = await json(['bench', int8, '--engine', 'native', '--runs', '2', '--isa', 'ref,ref']);
    expect(Object.keys(report['engines'] as object)).toEqual(['native:ref']);
    expect(report['isa']).toBe('ref,ref');
  });

  it('refuses an instruction set that this machine lacks', async () => {
    const other = process.arch === 'arm64' ? 'avx2' : 'neon';
    const { code, out } = await captureCli(['bench', int8, '--engine', 'native', '--runs', '1', '--isa', other, '--json']);
    expect(code).toBe(4);
    expect(JSON.parse(out)).toMatchObject({ error: { code: 'E_ISA' } });
  });
});

describe.skipIf(oracleMissing !== undefined)(`sterna bench and compare against onnxruntime${oracleMissing === undefined ? '' : ` (${oracleMissing})`}`, () => {
  it('benches both and divides', async () => {
    const report = await json(['bench', int8, '--runs', '3']);
    const { native, onnxruntime } = report['engines'] as Record<string, Record<string, number>>;
    expect(onnxruntime?.['arena_bytes']).toBeNull();
    expect(onnxruntime?.['load_cached_ms']).toBeNull();
    expect(report['speedup_p50']).toBeCloseTo((onnxruntime?.['p50_ms'] ?? NaN) / (native?.['p50_ms'] ?? NaN), 9);
  });

  it('compares a quantized model in steps', async () => {
    const report = await json(['compare', int8, '--engine', 'native', '--against', 'onnxruntime', '--inputs', 'random:6']);
    expect(report).toMatchObject({ cases: 6, outputs: [{ name: 'logits', max_abs: expect.any(Number) as number, cosine: expect.any(Number) as number }] });
    const [output] = report['outputs'] as Record<string, number>[];
    expect(output?.['max_steps']).toBeLessThanOrEqual(1);
    expect(output?.['share_within_1_step']).toBe(1);
  });

  it('compares float32 without steps', async () => {
    const report = await json(['compare', float, '--inputs', 'random:2']);
    expect(report['outputs']).toMatchObject([{ max_steps: null, share_within_1_step: null }]);
    const [output] = report['outputs'] as Record<string, number>[];
    expect(output?.['max_abs']).toBeLessThan(1e-4 * (output?.['range'] ?? 0));
  });

  it('compares with another model', async () => {
    const { code, out } = await captureCli(['compare', int8, '--reference', float, '--inputs', 'random:2']);
    expect(code).toBe(0);
    expect(out).toMatch(/output +max abs +range +max steps +within 1 step +cosine/);
    expect(out).toContain('2 cases');
  });
});
