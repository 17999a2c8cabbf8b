import type { Frame, Image } from '../../frame.js';
import { timeOf } from '../../frame.js';
import type { ModelStage } from '../../stages/model-stage.js';
import type { CellMask, PixelOps } from '../pixels.js';
import { StageClock } from '../../stages/stage-clock.js';
import { detect, foundIn } from '../detector.js';
import type { DetectPlan, Found } from '../detector.js';
import { cellOf, FeatureGate } from './feature-gate.js';
import type { FeatureGateSettings } from './settings.js';
import { noise } from '../../noise.js';

/** What a detector with a gate made of a frame. */
export interface GatedLook {
  found: Found[];
  exit: 'features' | 'partial' | 'full';
  /** Of the gate, or those that were computed of a part; absent when there were neither. */
  cells?: CellMask;
}

export interface GateTools {
  pixels: PixelOps;
  clock: StageClock;
  /** For the thresholds of the gate; 0 switches it off. */
  factor: number;
}

/** A detector whose run stops after its first layers while their features show nothing new, and which may compute a part of the picture only. */
export class GatedDetector {
  readonly #settings: FeatureGateSettings | null;
  #gate: FeatureGate | null;

  /** Null, or settings that are not enabled: every frame runs in full. */
  constructor(settings: FeatureGateSettings | null) {
    this.#settings = settings;
    this.#gate = gateOf(settings);
  }

  /** The background of the gate is learned anew: frames have passed that it did not see. */
  forget(): void {
    this.#gate = gateOf(this.#settings);
  }

  /** @throws RuntimeError E_MODEL_SHAPE when the outputs are not those of the decoder */
  async look(frame: Frame, stage: ModelStage, plan: DetectPlan, { pixels, clock, factor }: GateTools): Promise<GatedLook> {
    const gate = this.#gate;
    const { split } = stage.session;
    // An audit that tightens the gates watches frames that stop; what has changed is computed by the same threshold.
    stage.changeFactor = Math.max(1, factor);
    if (gate === null || split === undefined || factor === 0) return { found: await detect(frame, stage, plan, { pixels, clock }), exit: 'full', ...extentOf(stage, plan) };
    const nowMs = timeOf(frame);
    const fit = clock.measure('letterbox', () => pixels.fit(frame, stage.canvas, plan.fit, plan.pad));
    const features = await clock.measureAsync('features', () => stage.runPrefix());
    const { open, due, mask } = clock.measure('gate', () => gate.decide(gate.viewOf(split, features), nowMs, factor));
    if (!open) return { found: [], exit: 'features', cells: mask };
    const outputs = await clock.measureAsync('detect', () => stage.runSuffix());
    const found = foundIn(outputs, plan, { canvas: stage.canvas, fit }, clock);
    return { found: gate.keep(found, { mask, due, nowMs, toMap: cellOf(fit, stage.canvas) }), exit: 'full', cells: mask, ...extentOf(stage, plan) };
  }
}

const gateOf = (settings: FeatureGateSettings | null): FeatureGate | null => (settings?.enabled === true ? new FeatureGate(settings) : null);

/** What is different about a frame of which the detector computed a part. */
function extentOf({ active }: ModelStage, { fit }: DetectPlan): Partial<Pick<GatedLook, 'exit' | 'cells'>> {
  if (active === null) return {};
  // The cells are those of what the model was fed; with borders around the picture they are not those of the frame.
  return { exit: 'partial', ...(fit === 'stretch' ? { cells: active } : {}) };
}

/** What a full run finds in a frame that had stopped, and again in the same picture with a grey level of noise. */
export interface AuditLook {
  found: Found[];
  again(): Promise<Found[]>;
}

/** Runs the detector without any gate, on a stage that no frame waits for. The picture is read before the first wait. */
export async function auditLook(image: Image, stage: ModelStage, plan: DetectPlan, pixels: PixelOps): Promise<AuditLook> {
  const clock = new StageClock();
  const { canvas } = stage;
  const fit = pixels.fit(image, canvas, plan.fit, plan.pad);
  const found = foundIn(await stage.run(), plan, { canvas, fit }, clock);
  return {
    found,
    again: async () => {
      addNoise(canvas.data);
      return foundIn(await stage.run(), plan, { canvas, fit }, clock);
    },
  };
}

/** A grey level more or less at every value, from a fixed pattern: less than any camera adds. */
function addNoise(data: Uint8Array): void {
  const next = noise();
  for (let i = 0; i < data.length; i++) {
    data[i] = Math.max(0, Math.min(255, (data[i] ?? 0) + ((next() >>> 30) % 3) - 1));
  }
}
