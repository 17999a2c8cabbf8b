/** Judges an adapted package by what it finds, on samples that adaptation has not seen: it must agree with unrounded activations as the package does. */
import type { Frame } from '../frame.js';
import type { ModelPackage } from '../package/package.js';
import { createPipeline, type PipelineOptions } from '../pipeline/create.js';
import { addSample, noAgreement, shareOf, type Agreement } from '../stages/agreement.js';
import type { Pipeline } from '../stages/types.js';
import { withThresholds } from './overlay.js';
import { teacherOf } from './package-adapter.js';
import type { Threshold } from './apply.js';

/** The adapted package may agree with unrounded activations by so much less than the package does: a box at the edge of its threshold flips either way. */
const tolerance = 0.02;

export interface FindingsVerdict {
  readonly frames: number;
  /** Share of what either finds that both find, with unrounded activations as the other: the package, and the adapted one. Null: nothing was found. */
  readonly before: Record<keyof Agreement, number | null>;
  readonly after: Record<keyof Agreement, number | null>;
  /** Which agreement does not hold; null: all do. */
  readonly broken: keyof Agreement | null;
}

const shares = ({ boxes, identities, classes }: Agreement): Record<keyof Agreement, number | null> => ({ boxes: shareOf(boxes), identities: shareOf(identities), classes: shareOf(classes) });

export class FindingsJudge {
  readonly #pipelines: readonly Pipeline[];
  #before = noAgreement();
  #after = noAgreement();
  #frames = 0;

  private constructor(pipelines: readonly Pipeline[]) {
    this.#pipelines = pipelines;
  }

  /** Opens three pipelines: with unrounded activations, the package's, and the adapted one. They run without gates and tracks. @throws RuntimeError E_MODEL_* */
  static async open(modelPackage: ModelPackage, models: ReadonlyMap<string, readonly Threshold[]>, options: PipelineOptions = {}): Promise<FindingsJudge> {
    const opened: Pipeline[] = [];
    try {
      for (const form of [teacherOf(modelPackage), modelPackage, withThresholds(modelPackage, models)]) opened.push(await createPipeline(form, { ...options, motionGate: false, tracking: false }));
      return new FindingsJudge(opened);
    } catch (error) {
      await Promise.all(opened.map((pipeline) => pipeline.close()));
      throw error;
    }
  }

  /** Compares what is found in a frame. */
  async add(frame: Frame): Promise<void> {
    const found = [];
    for (const pipeline of this.#pipelines) found.push((await pipeline.process(frame)).findings);
    const [judge = [], before = [], after = []] = found;
    const all = { labels: null, identities: true };
    this.#before = addSample(this.#before, judge, before, all);
    this.#after = addSample(this.#after, judge, after, all);
    this.#frames += 1;
  }

  verdict(): FindingsVerdict {
    const [before, after] = [shares(this.#before), shares(this.#after)];
    const broken = (['boxes', 'identities', 'classes'] as const).find((kind) => (after[kind] ?? 1) < (before[kind] ?? 1) - tolerance) ?? null;
    return { frames: this.#frames, before, after, broken };
  }

  async close(): Promise<void> {
    await Promise.all(this.#pipelines.map((pipeline) => pipeline.close()));
  }
}
