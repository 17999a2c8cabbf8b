/** Variants of a package: what a cheaper network changes in the description, how much work it saves, and what it no longer finds. */
import type { AudioChunk, Frame, Image } from '../../runtime/frame.js';
import { kindOf } from '../../runtime/kinds/registry.js';
import type { PackageVariant } from '../../runtime/package/manifest.js';
import type { ModelPackage } from '../../runtime/package/package.js';
import { createPipeline } from '../../runtime/pipeline/create.js';
import type { PipelineDescription } from '../../runtime/stages/contract.js';
import { detectionsOf } from '../../runtime/stages/finding.js';
import type { EngineOptions } from '../../runtime/stages/model-stage.js';
import type { Detection, Pipeline } from '../../runtime/stages/types.js';
import { overlapOf } from '../../runtime/vision/nms.js';
import { DeployError } from '../errors.js';
import { describePipeline, merge } from './describe.js';
import type { StageModels } from './describe.js';
import type { DescribeHints } from '../../runtime/kinds/kind.js';

/** Pictures that can be read several times: those that were read are kept, because a source lends its pictures and gives them once. */
export function replayed(pictures: AsyncIterable<Image | AudioChunk> | Iterable<Image | AudioChunk>): AsyncIterable<Image | AudioChunk> {
  const kept: (Image | AudioChunk)[] = [];
  const source = Symbol.asyncIterator in pictures ? pictures[Symbol.asyncIterator]() : pictures[Symbol.iterator]();
  return {
    async* [Symbol.asyncIterator]() {
      for (let i = 0; ; i++) {
        if (i === kept.length) {
          const next = await source.next();
          if (next.done === true) return;
          kept.push('samples' in next.value ? next.value : { ...next.value, data: next.value.data.slice() });
        }
        const picture = kept[i];
        if (picture !== undefined) yield picture;
      }
    },
  };
}

/** A variant as a user states it: its models, and settings beside those that follow from them. */
export interface VariantPlan {
  name: string;
  /** Of the stages that differ. */
  models: StageModels;
  /** As `overrides` of the package, over those. */
  overrides?: unknown;
  /** What it saves and costs, where that is known; absent: measured on pictures. */
  figures?: Pick<PackageVariant, 'load' | 'cost'>;
}

/** A variant with the whole pipeline as it is then. */
export interface DescribedVariant {
  name: string;
  models: StageModels;
  whole: PipelineDescription;
  /** What the manifest states of it. */
  stages: PipelineDescription['stages'];
  settings: Record<string, unknown>;
}

/** @throws DeployError E_USAGE when the kind has no variants, or they replace other stages */
export async function describeVariant(own: PipelineDescription, models: StageModels, plan: VariantPlan, { overrides, hints, engine }: { overrides?: unknown; hints?: DescribeHints | undefined; engine?: EngineOptions | undefined }): Promise<DescribedVariant> {
  const { varies } = kindOf(own.kind);
  const other = Object.keys(plan.models).filter((stage) => varies?.stages.includes(stage) !== true);
  if (varies === null || other.length > 0) throw new DeployError('E_USAGE', varies === null ? `A ${own.kind} pipeline has no variants` : `Expected models of the ${varies.stages.join(', ')} in the variant ${plan.name} but received ${other.join(', ')}`);
  const whole = await describePipeline(own.kind, { ...models, ...plan.models }, merge(overrides, plan.overrides), engine?.engine, hints);
  const stages = Object.entries(whole.stages).filter(([stage]) => plan.models[stage] !== undefined).map(([stage, contract]) => [stage, { ...contract, model: `variants/${plan.name}/${stage}.onnx` }] as const);
  const settings = Object.entries(whole.settings).filter(([key, value]) => varies.settings.includes(key) && JSON.stringify(value) !== JSON.stringify(own.settings[key]));
  return { name: plan.name, models: plan.models, whole, stages: Object.fromEntries(stages), settings: Object.fromEntries(settings) };
}

/** Boxes that overlap by this much are of the same object: the measure of the governor's ladder, A-047 of agent/DECISIONS.md. */
const sameObject = 0.5;

/** A picture is run so many times, and the shortest time counts: what else the machine does lengthens the others. */
const repeats = 3;

interface Run {
  pipeline: Pipeline;
  ms: number[];
  missed: number;
}

/**
 * Runs pictures through the pipeline's own networks and through each variant, all frames in full. Load: the median time of a frame as a share of that of
 * the own networks, measured on this machine. Cost: the share of the own networks' boxes that no box of the variant covers by half.
 * @throws DeployError E_USAGE when nothing is found in the pictures, or a variant saves nothing
 */
export async function measureVariants(
  modelPackage: ModelPackage, pictures: AsyncIterable<Image | AudioChunk> | Iterable<Image | AudioChunk>, engine: EngineOptions = {},
): Promise<Pick<PackageVariant, 'name' | 'load' | 'cost'>[]> {
  const runs = new Map<string | null, Run>();
  try {
    for (const name of [null, ...(modelPackage.manifest.variants ?? []).map((variant) => variant.name)]) {
      const pipeline = await createPipeline(modelPackage, { ...engine, motionGate: false, featureGate: false, incremental: false, tracking: false });
      runs.set(name, { pipeline, ms: [], missed: 0 });
      await pipeline.setVariant?.(name);
    }
    const boxes = await compare([...runs.values()], pictures);
    if (boxes === 0) throw new DeployError('E_USAGE', 'Nothing is found in the pictures on which the variants are measured; give others');
    return figures(runs, boxes);
  } finally {
    for (const { pipeline } of runs.values()) await pipeline.close();
  }
}

/** @returns the number of boxes that the first run has found */
async function compare([own, ...variants]: readonly Run[], pictures: AsyncIterable<Image | AudioChunk> | Iterable<Image | AudioChunk>): Promise<number> {
  let [boxes, sequence] = [0, 0];
  for await (const picture of pictures) {
    if (own === undefined || 'samples' in picture) continue;
    const frame: Frame = { ...picture, sequence, capturedMs: sequence * 1000, still: true };
    sequence += 1;
    const known = await look(own, frame);
    boxes += known.length;
    for (const variant of variants) {
      const found = await look(variant, frame);
      variant.missed += known.filter(({ box, label }) => !found.some((other) => other.label === label && overlapOf(box, other.box) >= sameObject)).length;
    }
  }
  return boxes;
}

async function look(run: Run, frame: Frame): Promise<Pick<Detection, 'box' | 'label'>[]> {
  let [shortest, detections] = [Infinity, [] as Pick<Detection, 'box' | 'label'>[]];
  for (let i = 0; i < repeats; i++) {
    const { findings, totalMs } = await run.pipeline.process(frame);
    shortest = Math.min(shortest, totalMs);
    detections = detectionsOf(findings);
  }
  run.ms.push(shortest);
  return detections;
}

function figures(runs: ReadonlyMap<string | null, Run>, boxes: number): Pick<PackageVariant, 'name' | 'load' | 'cost'>[] {
  const own = median(runs.get(null)?.ms ?? []);
  return [...runs].flatMap(([name, { ms, missed }]) => {
    if (name === null) return [];
    const load = Number((median(ms) / own).toPrecision(3));
    if (load >= 1) throw new DeployError('E_USAGE', `The variant ${name} saves nothing: a frame takes ${load.toFixed(2)} times as long as with the pipeline's own networks`);
    return [{ name, load, cost: Number((missed / boxes).toPrecision(3)) }];
  });
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;
}
