/** Chains of steps over one model: what each step gets and leaves, what is refused, and what is left after a kill. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runChain, type ChainInput } from '../../../deploy/lab/chain/chain.js';
import { chainConfig, parseChainConfig, statesOf } from '../../../deploy/lab/chain/config.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { asTensor } from '../../../runtime/tensor.js';
import { modelBytes, randomTensor } from '../../runtime/support/models.js';
import { oracleMissing } from '../../runtime/support/oracle.js';
import { captureCli } from '../cli/capture.js';
import { net } from './small-net.js';

const bytes = modelBytes(net);
const samples = Array.from({ length: 25 }, (_, i) => ({ x: asTensor(randomTensor([1, 3, 10, 10], i + 1)) }));
const input: ChainInput = { bytes, samples, shapes: { x: [1, 3, 10, 10] } };

const prune = { method: 'prune', macs: 0.6, rounds: 1, steps: 0, align: 4 };
const distil = { method: 'distil', steps: 20, rate: 1e-3 };
const quantize = { method: 'quantize', ranges: 'minmax' };
const config = (...chain: object[]) => chainConfig.parse({ model: 'net.onnx', data: 'random:25', chain });

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sterna-chain-'));
  await writeFile(join(folder, 'net.onnx'), bytes);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const operators = async (path: string): Promise<Set<string>> => new Set(parseModel(await readFile(path)).graph.nodes.map(({ op }) => op));

describe('steps of a chain', () => {
  it('may follow one another as long as the step before left what they change', () => {
    expect(statesOf(config(prune, distil, quantize, distil).chain)).toEqual(['float', 'float', 'quantized', 'quantized']);
    expect(statesOf(config({ method: 'sparsify', sparsity: '2:4' }, { method: 'minifloat' }).chain)).toEqual(['sparse', 'packed']);
  });

  it.each([
    ['prune', [quantize, prune], /Step 2 \(prune\) cannot follow step 1 \(quantize\): the model is quantized/],
    ['quantize twice', [quantize, distil, quantize], /Step 3 \(quantize\) cannot follow step 2 \(distil\): the model is quantized/],
    ['change packed weights', [{ method: 'minifloat', bits: 11 }, distil], /Step 2 \(distil\) cannot follow step 1 \(minifloat\): the weights are stored in few bits/],
    ['change packed integers', [{ method: 'sparsify', weights: 'int4' }, quantize], /the weights are stored in few bits/],
    ['fill zeros', [{ method: 'sparsify', sparsity: '50%' }, distil], /distil would fill or move the zeros/],
    ['make zeros twice', [{ method: 'sparsify', sparsity: '50%' }, { method: 'sparsify', weights: 'int4' }], /state both in one step/],
  ])('are refused that %s', (_, chain, message) => {
    expect(() => statesOf(config(...chain).chain)).toThrow(expect.objectContaining({ code: 'E_LAB', message: expect.stringMatching(message) as string }) as Error);
  });

  it.each([
    ['chain: [', /is not YAML/],
    ['model: a\ndata: b\nchain: []', /chain: /],
    ['model: a\ndata: b\nchain: [{ method: shrink }]', /chain\.0\.method/],
    ['model: a\ndata: b\nchain: [{ method: prune }]', /one of macs and time/],
    ['model: a\ndata: b\nchain: [{ method: prune, macs: 0.5, time: 0.5 }]', /one of macs and time/],
    ['model: a\ndata: b\nchain: [{ method: sparsify }]', /sparsity, weights or both/],
    ['model: a\ndata: b\nchain: [{ method: sparsify, sparsity: 4:2 }]', /2:4/],
    ['model: a\ndata: b\nchain: [{ method: sparsify, sparsity: 50%, group: 8 }]', /int8 or int4 with group/],
    ['model: a\ndata: b\nchain: [{ method: distil, epochs: 1 }]', /epochs/],
  ])('are described by keys that exist: %s', (text, message) => {
    expect(() => parseChainConfig(text, 'lab.yaml')).toThrow(expect.objectContaining({ code: 'E_USAGE', message: expect.stringMatching(message) as string }) as Error);
  });
});

describe.skipIf(oracleMissing !== undefined)(`a chain${oracleMissing === undefined ? '' : ` (${oracleMissing})`}`, () => {
  it('gives each step what the one before it made, and writes down all of them', async () => {
    const out = join(folder, 'whole');
    const report = await runChain(config(prune, distil, quantize, distil), input, out);
    expect(report).toMatchObject({ resumed: 0, used_samples: 20, judged_samples: 5, input_bytes: bytes.length });
    expect(report.steps.map(({ step: { method }, state }) => [method, state])).toEqual([['prune', 'float'], ['distil', 'float'], ['quantize', 'quantized'], ['distil', 'quantized']]);
    expect(report.steps.map(({ figures }) => figures['tuned'])).toEqual([undefined, 'weights', undefined, 'scales']);
    // Nobody put channels back: the quantized model is that of the pruned one.
    const width = async (path: string): Promise<number | undefined> => [...parseModel(await readFile(path)).graph.initializers.values()].find(({ dims }) => dims.length === 4 && dims[1] === 3)?.dims[0];
    const left = await width(join(out, 'step-1.onnx'));
    expect(left).toBeLessThan(24);
    expect(await Promise.all([2, 3, 4].map((i) => width(join(out, `step-${i}.onnx`))))).toEqual([left, left, left]);
    expect((await operators(report.model)).has('QuantizeLinear')).toBe(true);
    const record = JSON.parse(parseModel(await readFile(report.model)).metadata.get('sterna.lab.chain') ?? '{}') as typeof report;
    expect(record).toMatchObject({ seed: 1, data_sha256: report.data_sha256, judged_samples: 5, steps: report.steps });
    for (const { agreement, bytes: size } of report.steps) expect([agreement > 0.5, size > 0]).toEqual([true, true]);
  }, 60_000);

  it('undoes distillation that does not help', async () => {
    const report = await runChain(config({ method: 'distil', steps: 2 }), input, join(folder, 'idle'));
    expect(report.steps[0]).toMatchObject({ figures: { kept: false } });
    expect(report.steps[0]?.agreement).toBeCloseTo(1, 5);
  });

  it('stores zeros as minifloats', async () => {
    const report = await runChain(config({ method: 'sparsify', sparsity: '50%' }, { method: 'minifloat', bits: 11 }), input, join(folder, 'sparse'));
    expect(Number(report.steps[0]?.figures['zeros'])).toBeGreaterThan(0.2);
    expect(report.steps[1]).toMatchObject({ state: 'packed', figures: { bits: 11 } });
    expect(Number(report.steps[1]?.figures['share'])).toBeGreaterThan(0.5);
    expect(Math.abs((report.steps[1]?.agreement ?? 0) - (report.steps[0]?.agreement ?? 1))).toBeLessThan(0.02);
  });

  it('goes on at the step where it failed, to the same bytes', async () => {
    const [whole, broken] = [join(folder, 'unbroken'), join(folder, 'broken')];
    const chain = config(prune, distil, quantize);
    await runChain(chain, input, whole);
    const stop = (stage: string): void => {
      if (stage.startsWith('step 2 of 3, distil: distilling')) throw new Error('stopped');
    };
    await expect(runChain(chain, input, broken, { onStage: stop })).rejects.toThrow('stopped');
    const stages = new Set<string>();
    const report = await runChain(chain, input, broken, { onStage: (stage) => stages.add(stage) });
    expect(report.resumed).toBe(1);
    expect([...stages].some((stage) => stage.startsWith('step 1'))).toBe(false);
    expect(Buffer.compare(await readFile(join(broken, 'model.onnx')), await readFile(join(whole, 'model.onnx')))).toBe(0);
  }, 60_000);

  it('refuses the folder of another chain, and files that are damaged', async () => {
    const out = join(folder, 'other');
    await runChain(config(quantize), input, out);
    const refusal = (message: RegExp): Error => expect.objectContaining({ code: 'E_LAB', message: expect.stringMatching(message) as string }) as Error;
    await expect(runChain(config({ ...quantize, format: 'int4' }), input, out)).rejects.toThrow(refusal(/belongs to a chain of other steps/));
    await expect(runChain(config(quantize), { ...input, samples: samples.slice(1) }, out)).rejects.toThrow(refusal(/belongs to a chain of other steps/));
    await writeFile(join(out, 'step-1.onnx'), 'x');
    await expect(runChain(config(quantize), input, out)).rejects.toThrow(refusal(/step-1.onnx is missing or damaged/));
    await writeFile(join(out, 'chain.json'), '{');
    await expect(runChain(config(quantize), input, out)).rejects.toThrow(refusal(/chain.json is damaged/));
  });

  it('refuses too few samples', async () => {
    await expect(runChain(config(quantize), { ...input, samples: samples.slice(0, 12) }, join(folder, 'few'))).rejects.toThrow(expect.objectContaining({ code: 'E_LAB' }) as Error);
  });

  it('is a command, which goes on after kill -9', async () => {
    const [main, yaml] = [fileURLToPath(new URL('../../../dist/deploy/cli/main.js', import.meta.url)), join(folder, 'lab.yaml')];
    const [killed, whole] = [join(folder, 'killed'), join(folder, 'spared')];
    await writeFile(yaml, JSON.stringify({ model: join(folder, 'net.onnx'), data: 'random:25', chain: [prune, { ...distil, steps: 3000 }, quantize] }));
    const child = spawn(process.execPath, [main, 'lab', 'chain', yaml, '-o', killed], { stdio: 'ignore' });
    const ended = new Promise<NodeJS.Signals | null>((resolve) => child.once('exit', (_, signal) => resolve(signal)));
    while (!existsSync(join(killed, 'chain.json')) && child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 20));
    child.kill('SIGKILL');
    expect(await ended).toBe('SIGKILL');
    const resumed = await captureCli(['--json', 'lab', 'chain', yaml, '-o', killed]);
    expect([resumed.code, (JSON.parse(resumed.out) as { resumed: number }).resumed]).toEqual([0, 1]);
    const text = await captureCli(['lab', 'chain', yaml, '-o', whole]);
    expect(text.code).toBe(0);
    expect(text.out).toMatch(/agreement with the original on 5 samples that no step saw/);
    expect(Buffer.compare(await readFile(join(killed, 'model.onnx')), await readFile(join(whole, 'model.onnx')))).toBe(0);
  }, 120_000);

  it('names the file of a configuration that does not exist', async () => {
    const { code, err } = await captureCli(['lab', 'chain', join(folder, 'none.yaml'), '-o', join(folder, 'none')]);
    expect([code !== 0, err.includes('E_FILE')]).toEqual([true, true]);
  });
});
