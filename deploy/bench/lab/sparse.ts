/** SparseGPT against magnitude pruning, and weights in integers: on a character transformer that is trained here, and on published models. */
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { modelInputs } from '../../../runtime/quantize/prepare/read-model.js';
import { spread } from '../../../runtime/quantize/observe/calibrate.js';
import type { Feeds } from '../../compress/samples.js';
import { labConfig, type TextConfig } from '../../lab/config.js';
import { runText } from '../../lab/language/run.js';
import { perplexityOf, readCorpus, tokensTensor } from '../../lab/language/text.js';
import { sparsify, type SparsifySettings } from '../../lab/methods/sparse/sparsify.js';
import { absentOf, type Absent, type Bar } from '../bars.js';
import { readFaces } from './faces.js';
import type { LabBenchOptions } from './options.js';
import { fed, picturesOf } from '../pictures.js';
import { scale } from './pruning.js';

type Options = LabBenchOptions & { models: string; samples: string };

const sparsities = { '50 %': { kind: 'share', share: 0.5 }, '2:4': { kind: 'pattern', zeros: 2, of: 4 } } as const;
/** Passages that zeros and integers are chosen by. */
const calibrated = 128;
/** Part of the bar that SparseGPT may lose of what magnitude pruning loses. */
const most = 0.5;

/** What a setting loses by SparseGPT, as a share of what it loses by magnitude; `lossOf` a model. */
async function shareOf(settings: SparsifySettings, model: Uint8Array, samples: readonly Feeds[], lossOf: (made: Uint8Array, agreement: number) => Promise<number>): Promise<{ aware: number; blind: number; value: number; packed: number }> {
  const [a, b] = [await sparsify(model, samples, settings), await sparsify(model, samples, { ...settings, criterion: 'magnitude' })];
  const [aware, blind] = [await lossOf(a.model, a.report.agreement ?? 0), await lossOf(b.model, b.report.agreement ?? 0)];
  return { aware, blind, value: aware / blind, packed: a.report.packed_after / a.report.packed_before };
}

const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;

async function languageBars(file: string, { steps, signal }: Options): Promise<Bar[]> {
  const folder = await mkdtemp(join(tmpdir(), 'sterna-bench-sparse-'));
  try {
    const context = 64;
    const config = labConfig.parse({ model: { student: { kind: 'transformer', width: 64, layers: 2 } }, data: { kind: 'text', file, context }, loss: { kind: 'cross-entropy' }, rate: 3e-3, steps: 4 * steps, batch: 16, seed: 1 }) as TextConfig;
    const { model: path, perplexity } = await runText(config, folder, { onStep: () => signal.throwIfAborted() });
    const model = await readFile(path);
    const { train, judged } = await readCorpus(file, 0.1, context);
    const samples = Array.from({ length: calibrated }, (_, i) => {
      const start = Math.floor((i * (train.length - context)) / calibrated);
      return { tokens: tokensTensor(train.subarray(start, start + context), [1, context]) };
    });
    const rise = async (made: Uint8Array): Promise<number> => (await perplexityOf(made, judged, context)) - perplexity;
    const bars: Bar[] = [];
    for (const [name, sparsity] of Object.entries(sparsities)) {
      const { aware, blind, value, packed } = await shareOf({ sparsity }, model, samples, rise);
      bars.push({ id: `lab.sparse_language_${name.replace(/\D+/g, '_').replace(/_$/, '')}`, what: `rise of the perplexity with ${name} zeros by SparseGPT, share of that by magnitude (${perplexity.toFixed(3)} + ${aware.toFixed(3)} instead of + ${blind.toFixed(3)}; ${4 * steps} steps of training; ${percent(packed)} of the bytes in a package)`, value, unit: 'x', bar: `<= ${most}`, met: value <= most });
    }
    for (const [id, what, settings] of [
      ['int4', 'int4', { weights: 'int4' }], ['int4_32', 'int4 in groups of 32', { weights: 'int4', group: 32 }], ['int4_2_4', 'int4 in groups of 32 with 2:4 zeros', { weights: 'int4', group: 32, sparsity: sparsities['2:4'] }],
    ] as const) {
      const { aware, blind, value, packed } = await shareOf(settings, model, samples, rise);
      bars.push({ id: `lab.gptq_language_${id}`, what: `rise of the perplexity with weights in ${what} by GPTQ, share of that by rounding to the nearest (+ ${aware.toFixed(3)} instead of + ${blind.toFixed(3)}; ${percent(packed)} of the bytes in a package)`, value, unit: 'x', bar: '< 1', met: value < 1 });
    }
    return bars;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Published models: what is lost of the outputs (1 less their centred cosine) on samples that nothing was set by. */
async function modelBars({ models, samples, signal }: Options): Promise<Bar[]> {
  const [embedder, classifier, orl, pictures] = [join(models, 'fr_feature.onnx'), join(models, 'mobilenet_v2_224_f32.onnx'), join(samples, 'orl'), join(samples, 'coco128', 'images')];
  const cases: { name: string; model: Uint8Array; feeds: Feeds[] }[] = [];
  if (existsSync(embedder) && existsSync(orl)) {
    const model = await readFile(embedder);
    const [input] = modelInputs(model);
    cases.push({ name: 'fr_feature', model, feeds: input === undefined ? [] : spread(await readFaces(orl, input), 60).map(({ feeds }) => feeds) });
  }
  if (existsSync(classifier) && existsSync(pictures)) {
    const model = await readFile(classifier);
    cases.push({ name: 'mobilenet_v2', model, feeds: await fed(model, pictures, spread((await picturesOf(pictures)).tuned, 50), scale) });
  }
  const bars: Bar[] = [];
  for (const { name, model, feeds } of cases) {
    for (const [pattern, sparsity] of Object.entries(sparsities)) {
      signal.throwIfAborted();
      const { aware, blind, value, packed } = await shareOf({ sparsity }, model, feeds, (_, agreement) => Promise.resolve(1 - agreement));
      bars.push({ id: `lab.sparse_${name}_${pattern.replace(/\D+/g, '_').replace(/_$/, '')}`, what: `what the outputs of ${name} lose with ${pattern} zeros by SparseGPT, share of what they lose by magnitude (1 less centred cosine ${aware.toFixed(4)} instead of ${blind.toFixed(4)}; ${percent(packed)} of the bytes in a package)`, value, unit: 'x', bar: `<= ${most}`, met: value <= most });
    }
  }
  return bars;
}

export async function sparseBars(options: Options): Promise<Bar[] | Absent> {
  const file = join(options.samples, 'text', 'tinyshakespeare.txt');
  const absent = absentOf([file]);
  return absent ?? [...await languageBars(file, options), ...await modelBars(options)];
}
