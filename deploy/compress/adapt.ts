import { FindingsJudge, type FindingsVerdict } from '../../runtime/adapt/findings-judge.js';
import { PackageAdapter, type PackageAdaptation, type PackageStep } from '../../runtime/adapt/package-adapter.js';
import type { Frame } from '../../runtime/frame.js';
import type { ModelPackage } from '../../runtime/package/package.js';
import type { EngineOptions } from '../../runtime/stages/model-stage.js';
import { DeployError } from '../errors.js';

/** One in so many frames is kept from adaptation, and judges what is found with the new thresholds. */
const judgedEvery = 4;
/** At most so many frames judge: they are kept as they are. */
const mostJudged = 32;

export interface FootageAdaptation extends PackageAdaptation {
  readonly frames: number;
  /** Null where there was nothing to judge. */
  readonly findings: FindingsVerdict | null;
}

export interface AdaptFootage {
  engine?: EngineOptions;
  /** Of the frames that are looked at. */
  limit: number;
  onFrame: (done: number) => void;
  onStep: (step: PackageStep) => void;
}

/**
 * Adapts the thresholds of a package's models to footage, without labels.
 * @param frames what the camera sees; each is used once
 * @throws DeployError E_FILE: no frame; RuntimeError E_ADAPT, E_MEDIA, E_MODEL_*
 */
export async function adaptToFootage(modelPackage: ModelPackage, frames: AsyncIterable<Frame>, { engine = {}, limit, onFrame, onStep }: AdaptFootage): Promise<FootageAdaptation> {
  const adapter = await PackageAdapter.open(modelPackage, engine);
  const judged: Frame[] = [];
  let count = 0;
  try {
    for await (const frame of frames) {
      if (++count % judgedEvery === 0 && judged.length < mostJudged) judged.push({ ...frame, data: Uint8Array.from(frame.data) });
      else await adapter.gather(frame);
      onFrame(count);
      if (count >= limit) break;
    }
    if (count === 0) throw new DeployError('E_FILE', 'The footage has no frame');
    const adaptation = await finished(adapter.adapt(), onStep);
    if (adaptation.models.size === 0) return { ...adaptation, frames: count, findings: null };
    const findings = await judge(modelPackage, adaptation, judged, engine);
    if (findings.broken === null) return { ...adaptation, frames: count, findings };
    return { ...adaptation, models: new Map(), frames: count, findings, reason: `${findings.broken} agree less with those of unrounded activations than before` };
  } finally {
    await adapter.close();
  }
}

async function finished(steps: ReturnType<PackageAdapter['adapt']>, onStep: (step: PackageStep) => void): Promise<PackageAdaptation> {
  for (;;) {
    const { done, value } = await steps.next();
    if (done === true) return value;
    onStep(value);
  }
}

async function judge(modelPackage: ModelPackage, { models }: PackageAdaptation, frames: readonly Frame[], engine: EngineOptions): Promise<FindingsVerdict> {
  const judge = await FindingsJudge.open(modelPackage, models, engine);
  try {
    for (const frame of frames) await judge.add(frame);
    return judge.verdict();
  } finally {
    await judge.close();
  }
}
