/** `sterna lab recommend` on a small model: whether what it proposes keeps its own bounds on pictures that nothing was chosen by, and what it reaches. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { modelInputs } from '../../../runtime/quantize/prepare/read-model.js';
import { collectSamples, readSamples, type Share } from '../../compress/samples.js';
import { DeployError } from '../../errors.js';
import { chainConfig } from '../../lab/chain/config.js';
import { byTime, defaultWatts } from '../../lab/recommend/energy.js';
import { recommend, type RecommendSettings } from '../../lab/recommend/recommend.js';
import type { Recommendation } from '../../lab/recommend/report.js';
import { absentOf, type Absent, type Bar } from '../bars.js';
import type { LabBenchOptions } from './options.js';

const name = 'vww_96_float.onnx';
/** Pictures for the chains, and others that confirm. */
const [used, confirming] = [40, 24];
const steps = 20;
const budgetSeconds = 180;
const maxDrop = 0.02;
/** Of the original's time, and of its memory. */
const [timeLeft, memoryLeft] = [0.9, 0.6];

const front = ({ tried, unit }: Recommendation): string =>
  tried.filter(({ on_front }) => on_front).map(({ id, drop, cost, kb, memory_kb: memory }) => `${id}: ${drop.toFixed(4)}, ${cost.toPrecision(3)} ${unit}, ${kb.toPrecision(3)} kB, ${memory.toPrecision(3)} kB of memory`).join('; ');

function barsOf(report: Recommendation): Bar[] {
  const [original, chosen] = [report.tried[0], report.tried.find(({ id }) => id === report.recommended)];
  if (original === undefined) throw new DeployError('E_BENCH', 'The recommendation has no figures of the original');
  const bar = (id: string, what: string, value: number | undefined, most: number): Bar => ({ id: `lab.recommend_${id}`, what, value: value ?? NaN, unit: '', bar: `<= ${most}`, met: value !== undefined && value <= most });
  const which = report.recommended ?? 'nothing';
  const taught = [...report.tried, ...report.left].filter(({ id }) => id.includes('distil'));
  const open = report.left.filter(({ id, state }) => id.includes('distil') && state === 'untried');
  return [
    bar('drop', `drop of what is recommended for ${name} (${which}) on ${report.confirming_samples} pictures that nothing was chosen by, ${report.spent_seconds.toFixed(0)} of ${budgetSeconds} s; the front (drop, time, package, memory): ${front(report)}`, report.confirmed?.drop, maxDrop),
    bar('time', 'its time, of that of the original', chosen && chosen.cost / original.cost, timeLeft),
    bar('memory', 'its memory, of that of the original', chosen && chosen.memory_kb / original.memory_kb, memoryLeft),
    bar('untried', `chains with distillation that did not fit in the budget, of ${taught.length}: ${open.map(({ id, why }) => `${id}, ${why}`).join('; ') || 'none'}`, open.length, 0),
  ];
}

/** @throws DeployError E_LAB, E_BENCH */
export async function recommendBars({ models, samples, signal }: LabBenchOptions & { models: string; samples: string }): Promise<Bar[] | Absent> {
  const [path, pictures] = [join(models, name), join(samples, 'coco128', 'images')];
  const absent = absentOf([path, pictures]);
  if (absent !== undefined) return absent;
  const bytes = await readFile(path);
  const inputs = modelInputs(bytes);
  const shapes = Object.fromEntries(inputs.map((input) => [input.name, input.dims]));
  const read = (share: Share) => collectSamples(readSamples(pictures, inputs, share));
  const input = { bytes, shapes, samples: await read(used), confirming: await read({ limit: used, others: confirming }) };
  const { chain: _, ...base } = chainConfig.parse({ model: path, data: pictures, samples: used, shapes, seed: 1, threads: 1, chain: [{ method: 'minifloat' }] });
  const settings: RecommendSettings = { scenario: 'mobile-cnn', target: 'this', bounds: { maxDrop }, steps, budgetSeconds, energy: byTime(defaultWatts, 'this', 'the default of energy.watts_per_core, not measured'), onStage: () => signal.throwIfAborted() };
  const folder = await mkdtemp(join(tmpdir(), 'sterna-bench-recommend-'));
  try {
    const [original] = (await recommend(input, base, settings, folder)).tried;
    if (original === undefined) throw new DeployError('E_BENCH', 'The recommendation has no figures of the original');
    // Bounds are taken from the original, so that they mean the same on every machine; what is known is not tried again.
    return barsOf(await recommend(input, base, { ...settings, bounds: { maxDrop, cost: timeLeft * original.cost, memoryKb: memoryLeft * original.memory_kb } }, folder));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
