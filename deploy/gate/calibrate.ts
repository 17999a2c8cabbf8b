import { z } from 'zod';
import type { FrameSource } from '../../runtime/frame.js';
import { releasePicture } from '../../runtime/picture-memory.js';
import { inspectModel } from '../../runtime/inspect.js';
import type { ModelPackage } from '../../runtime/package/package.js';
import { createPipeline } from '../../runtime/pipeline/create.js';
import { detectionsOf, type Detection } from '../../runtime/stages/finding.js';
import { closeStages, openStages, stageOf } from '../../runtime/stages/open-stages.js';
import { featureGateSettings } from '../../runtime/vision/gates/settings.js';
import { nativePixels, type Fit } from '../../runtime/vision/pixels.js';
import { defaultMotion, fitSetting, motionSettings, type MotionSettings } from '../../runtime/vision/settings.js';
import { DeployError } from '../errors.js';
import { bothPoint, cheapest, pixelPoint, splitsToTry, type GatePoint, type SplitChoice } from './choose.js';
import { FeatureTrial, PixelTrial } from './simulate.js';
import { pixelsOf } from '../../runtime/stages/contract.js';

/** Thresholds that are tried. */
const pixelThresholds = [3, 5, 7, 10, 14, 20, 28];
const featureThresholds = [0.03, 0.05, 0.08, 0.12, 0.17, 0.23, 0.3, 0.4, 0.5];
/** Fewer frames show nothing. */
const fewestFrames = 50;

export interface CalibrateOptions {
  /** Opens the footage; it is read once for the full runs, and once for each split. */
  open: () => FrameSource;
  missRate: number;
  limit: number;
  onFrame: (stage: string, done: number) => void;
}

export interface Calibration {
  frames: number;
  /** Frames in which a full run finds something. */
  busy: number;
  points: GatePoint[];
  chosen: GatePoint;
  /** For `sterna package --settings` and `sterna run --gates`: as the manifest's `pipeline`. */
  settings: { settings: { motion: MotionSettings; features: object | null } };
}

/** What this needs of the settings of any kind with a detector. */
const detectorKinds = z.looseObject({ motion: motionSettings.default(defaultMotion), detector: z.looseObject({ fit: fitSetting, pad: z.number().default(0) }) });

type Truth = readonly (readonly Pick<Detection, 'box' | 'label'>[])[];

/**
 * Chooses the gates of a pipeline from footage without labels: what a full run of every frame finds counts as true.
 * @throws DeployError E_USAGE for a pipeline without a detector, or too little footage
 */
export async function calibrateGates(modelPackage: ModelPackage, options: CalibrateOptions): Promise<Calibration> {
  const { pipeline } = modelPackage.manifest;
  const parsed = detectorKinds.safeParse(pipeline.settings);
  if (pipeline.stages['detector'] === undefined || !parsed.success) throw new DeployError('E_USAGE', `Expected a pipeline with a detector but ${pipeline.kind} has none`);
  const trials = pixelThresholds.map((threshold) => new PixelTrial(threshold, parsed.data.motion));
  const truth = await runInFull(modelPackage, trials, options);
  const pixels = trials.map((trial) => pixelPoint(trial.threshold, trial.outcome));
  const everything = pixelPoint(null, { frames: truth.length, stopped: 0, missed: 0 });
  const before = cheapest([...pixels, everything], options.missRate) ?? everything;
  const gate = trials.find(({ threshold }) => threshold === before.pixels);
  const both: GatePoint[] = [];
  for (const split of await splitsOf(modelPackage)) {
    const behind = await runPrefix(modelPackage, split, { truth, passed: gate?.passed, fit: parsed.data.detector }, options);
    both.push(...behind.map(({ settings, outcome }) => bothPoint(before.pixels, gate?.outcome ?? { frames: truth.length, stopped: 0, missed: 0 }, { split, threshold: settings.threshold }, outcome)));
  }
  const points = [everything, ...pixels, ...both];
  const chosen = cheapest(points, options.missRate) ?? everything;
  return { frames: truth.length, busy: truth.filter((found) => found.length > 0).length, points, chosen, settings: { settings: settingsOf(chosen, parsed.data.motion) } };
}

function settingsOf({ pixels, features }: GatePoint, motion: MotionSettings): Calibration['settings']['settings'] {
  return {
    motion: { ...motion, enabled: pixels !== null, cell_threshold: pixels ?? motion.cell_threshold },
    features: features === null ? null : featureGateSettings.parse({ enabled: true, split: features.split, threshold: features.threshold }),
  };
}

async function runInFull(modelPackage: ModelPackage, trials: readonly PixelTrial[], { open, limit, onFrame }: CalibrateOptions): Promise<Truth> {
  const pipeline = await createPipeline(modelPackage, { motionGate: false, tracking: false });
  const truth: Pick<Detection, 'box' | 'label'>[][] = [];
  try {
    for await (const frame of open()) {
      const { findings } = await pipeline.process(frame);
      const found = detectionsOf(findings).map(({ box, label }) => ({ box, label }));
      truth.push(found);
      for (const trial of trials) trial.add(frame, found);
      releasePicture(frame);
      onFrame('running every frame in full', truth.length);
      if (truth.length >= limit) break;
    }
  } finally {
    await pipeline.close();
  }
  if (truth.length < fewestFrames) throw new DeployError('E_USAGE', `Expected footage of at least ${fewestFrames} frames but received ${truth.length}`);
  return truth;
}

async function splitsOf(modelPackage: ModelPackage): Promise<SplitChoice[]> {
  const { detector } = modelPackage.manifest.pipeline.stages;
  if (detector === undefined) return [];
  const { tensor, mean, std } = pixelsOf(detector);
  return splitsToTry((await inspectModel(modelPackage.file(detector.model), { pixels: { [tensor]: { mean, std } } })).splits);
}

interface Behind {
  truth: Truth;
  /** Frames that the pixel gate let through; undefined: all. */
  passed: readonly boolean[] | undefined;
  fit: { fit: Fit; pad: number };
}

async function runPrefix(modelPackage: ModelPackage, { name }: SplitChoice, { truth, passed, fit }: Behind, { open, onFrame }: CalibrateOptions): Promise<FeatureTrial[]> {
  const { detector } = modelPackage.manifest.pipeline.stages;
  const stages = await openStages(detector === undefined ? {} : { detector }, (path) => modelPackage.file(path), { splits: { detector: name } });
  const trials = featureThresholds.map((threshold) => new FeatureTrial(featureGateSettings.parse({ enabled: true, split: name, threshold })));
  try {
    const stage = stageOf(stages, 'detector');
    const { split } = stage.session;
    let at = 0;
    for await (const frame of open()) {
      if (at >= truth.length || split === undefined) break;
      if (passed?.[at] !== false) {
        nativePixels.fit(frame, stage.canvas, fit.fit, fit.pad);
        const features = await stage.runPrefix();
        for (const trial of trials) trial.add(trial.gate.viewOf(split, features), frame, truth[at] ?? []);
      }
      releasePicture(frame);
      onFrame(`running up to ${name}`, ++at);
    }
  } finally {
    await closeStages(stages);
  }
  return trials;
}
