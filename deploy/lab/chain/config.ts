import { z } from 'zod';
import { formats } from '../../../runtime/quantize/formats/grids.js';
import { targets } from '../../../runtime/quantize/formats/targets.js';
import { leastBits, mostBits } from '../../../runtime/minifloat/format.js';
import { calibrationMethods } from '../../../runtime/quantize/ranges/range.js';
import { DeployError } from '../../errors.js';
import { parseYaml } from '../config.js';
import type { Sparsity } from '../methods/sparse/sweep.js';
import { pruneDefaults } from '../prune/prune.js';
import { criteria } from '../prune/scores.js';

const count = z.number().int().positive();
const share = z.number().gt(0).lt(1);
const names = z.array(z.string().min(1)).default([]);

/** `50%`, or `2:4`: so many zeros among so many neighbours; undefined: neither. */
export function parseSparsity(text: string): Sparsity | undefined {
  const part = /^(\d+(?:\.\d+)?)%$/.exec(text)?.[1];
  if (part !== undefined && Number(part) > 0 && Number(part) < 100) return { kind: 'share', share: Number(part) / 100 };
  const [zeros, of] = (/^(\d+):(\d+)$/.exec(text) ?? []).slice(1).map(Number);
  return zeros !== undefined && of !== undefined && zeros > 0 && zeros < of && of <= 64 ? { kind: 'pattern', zeros, of } : undefined;
}

const prune = z.strictObject({
  method: z.literal('prune'),
  /** Share of the multiply-adds that is left. */
  macs: share.optional(),
  /** Share of the time that a run takes on this CPU that is left; instead of `macs`. */
  time: share.optional(),
  criterion: z.enum(criteria).default(pruneDefaults.criterion),
  rounds: count.default(pruneDefaults.rounds),
  /** Steps of fine-tuning within the pruning; a step `distil` may follow in addition. */
  steps: z.number().int().min(0).default(pruneDefaults.steps),
  rate: z.number().positive().default(pruneDefaults.rate),
  batch: count.default(pruneDefaults.batch),
  align: count.default(pruneDefaults.align),
  exclude: names,
}).refine(({ macs, time }) => (macs === undefined) !== (time === undefined), 'Expected one of macs and time: the share that is left, as in macs: 0.6');

const distil = z.strictObject({
  method: z.literal('distil'),
  steps: count.default(300),
  /** Of a float model's weights; the scales of a quantized model have their own. */
  rate: z.number().positive().default(3e-4),
  batch: count.default(8),
});

const quantize = z.strictObject({
  method: z.literal('quantize'),
  format: z.enum([...formats, 'auto']).default('int8'),
  max_drop: z.number().positive().optional(),
  target: z.enum(targets).default('this'),
  ranges: z.enum(['auto', ...calibrationMethods]).default('auto'),
  edges: z.boolean().default(false),
  depthwise: z.boolean().default(false),
  exclude: names,
});

const sparsify = z.strictObject({
  method: z.literal('sparsify'),
  sparsity: z.string().refine((text) => parseSparsity(text) !== undefined, 'Expected the share of the weights that become zero, as in 50%, or zeros among neighbours, as in 2:4').optional(),
  weights: z.enum(['int8', 'int4']).optional(),
  group: count.min(2).optional(),
  exclude: names,
}).refine(({ sparsity, weights }) => sparsity !== undefined || weights !== undefined, 'Expected sparsity, weights or both')
  .refine(({ group, weights }) => group === undefined || weights !== undefined, 'Expected weights: int8 or int4 with group, which is for how many weights share a scale');

const minifloat = z.strictObject({ method: z.literal('minifloat'), bits: z.number().int().min(leastBits).max(mostBits).default(11) });

/** A step, with all of its defaults. */
export const stepConfig = z.discriminatedUnion('method', [prune, distil, quantize, sparsify, minifloat]);

/** How pictures become the model's input; what is left out is as `sterna compress` assumes. */
const pictures = z.strictObject({
  mean: z.array(z.number()).optional(), std: z.array(z.number().positive()).optional(), channels: z.enum(['rgb', 'bgr', 'gray']).optional(),
  fit: z.enum(['letterbox', 'crop', 'stretch']).optional(), pad: z.number().min(0).max(255).optional(),
});

/** A chain, as lab.yaml describes it. */
export const chainConfig = z.strictObject({
  /** Path of a float32 ONNX model. */
  model: z.string().min(1),
  /** A folder of pictures or .npy arrays, or random:N; no labels. Every fifth sample judges, and no step sees it. */
  data: z.string().min(1),
  samples: count.default(128),
  pictures: pictures.default({}),
  /** Shapes by input name, for dimensions that the file leaves open. */
  shapes: z.record(z.string(), z.array(count)).default({}),
  chain: z.array(stepConfig).min(1).max(16),
  seed: z.number().int().min(0).default(1),
  threads: count.max(256).default(1),
});

export type ChainStep = z.output<typeof stepConfig>;
export type Method = ChainStep['method'];
export type ChainConfig = z.output<typeof chainConfig>;

/** What a model is after a step: which steps may follow depends on it. */
export type ModelState = 'float' | 'sparse' | 'quantized' | 'packed';

/** What each step leaves. */
const leaves = (made: ChainStep, from: ModelState): ModelState => {
  if (made.method === 'quantize') return 'quantized';
  if (made.method === 'minifloat') return 'packed';
  if (made.method === 'sparsify') return made.weights === undefined ? 'sparse' : 'packed';
  return from;
};

/** Why a step cannot follow; undefined: it can. */
function obstacle(method: Method, state: ModelState): string | undefined {
  if (state === 'float') return undefined;
  if (state === 'packed') return 'the weights are stored in few bits, and nothing can change them any more; put the step before that which stores them';
  if (state === 'quantized') return method === 'distil' ? undefined : 'the model is quantized, and only its scales can be tuned (distil); put the step before quantize';
  if (method === 'minifloat') return undefined;
  return method === 'sparsify'
    ? 'the model is sparse already; state both in one step, as in { method: sparsify, sparsity: 50%, weights: int4 }'
    : `${method} would fill or move the zeros; put it before sparsify, and state weights: int8 or int4 in the step sparsify for integers`;
}

/**
 * What the model is after each step.
 * @throws DeployError E_LAB for a step that cannot follow the one before it
 */
export function statesOf(chain: readonly ChainStep[]): ModelState[] {
  let state: ModelState = 'float';
  return chain.map((each, i) => {
    const problem = obstacle(each.method, state);
    if (problem !== undefined) throw new DeployError('E_LAB', `Step ${i + 1} (${each.method}) cannot follow step ${i} (${chain[i - 1]?.method ?? ''}): ${problem}`, { details: { step: i + 1, method: each.method, state } });
    return (state = leaves(each, state));
  });
}

/** @throws DeployError E_USAGE that names the key; E_LAB for steps that cannot follow one another */
export function parseChainConfig(text: string, path: string): ChainConfig {
  const config = parseYaml(chainConfig, text, path);
  statesOf(config.chain);
  return config;
}
