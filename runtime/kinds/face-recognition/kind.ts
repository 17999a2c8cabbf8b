import { incrementally, incrementOf } from '../../incremental/settings.js';
import { keypointsOf } from '../../vision/decoders/index.js';
import { detectorGates, featuresGated, gated } from '../../vision/settings.js';
import { tracked } from '../../vision/tracking/settings.js';
import { defineKind } from '../kind.js';
import { VisionPipeline } from '../vision-pipeline.js';
import { describeFaces } from './describe.js';
import { FaceWork } from './face-work.js';
import { faceSettings } from './settings.js';

/** Who is at the door: a motion gate, faces, their points, alignment, embeddings, and a gallery of enrolled people. */
export const faceRecognition = defineKind({
  name: 'face-recognition',
  roles: {
    detector: { what: 'face detector: decoded boxes and scores, or YuNet', goldenVectors: 1, quantized: true },
    // Small, and its points are what alignment rests on: float32 unless asked for.
    landmarks: { what: 'model of 68 landmarks; not needed with YuNet', optional: true, goldenVectors: 2, quantized: false },
    // Small and asked seldom; what it looks for (moire, borders, gloss) is fine detail: float32 unless asked for.
    liveness: { what: 'model that tells live faces from pictures of them', optional: true, goldenVectors: 2, quantized: false },
    embedder: { what: 'face embedder, 112 x 112', goldenVectors: 2, quantized: true, embeds: true },
  },
  settings: faceSettings,
  describe: describeFaces,
  conflict({ landmarks: stage, liveness: livenessStage }, { landmarks, liveness, detector }) {
    if ((livenessStage === undefined) !== (liveness === null)) return 'expected settings of the liveness exactly when there is such a stage';
    if ((stage === undefined) !== (landmarks === null)) return 'expected settings of the landmarks exactly when there is such a stage';
    return stage === undefined && keypointsOf(detector.decoder) !== 5 ? 'expected a landmark model: this detector gives boxes only' : null;
  },
  gates: (settings) => detectorGates(settings),
  increments: ({ incremental }) => incrementOf('detector', incremental),
  override: (settings, { matchThreshold, detectThreshold, tracking, ...gates }) => ({
    ...settings,
    incremental: incrementally(settings.incremental, gates),
    motion: gated(settings.motion, gates.motionGate),
    features: featuresGated(settings.features, gates),
    tracking: tracked(settings.tracking, tracking),
    match_threshold: matchThreshold ?? settings.match_threshold,
    detector: { ...settings.detector, score_threshold: detectThreshold ?? settings.detector.score_threshold },
  }),
  varies: {
    stages: ['detector'], settings: ['detector', 'features', 'incremental'],
    // The label is part of what a track is.
    conflict: ({ detector: { label } }, varied) => (varied.detector.label === label ? null : `expected the label ${label}, which the pipeline has, but received ${varied.detector.label}`),
  },
  create(parts, settings, _, variants) {
    const own = new FaceWork(parts, settings);
    return new VisionPipeline(parts, settings, own, variants.map((varied) => new FaceWork(parts, varied, own)));
  },
});
