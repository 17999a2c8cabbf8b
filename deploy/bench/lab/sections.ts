import { join } from 'node:path';
import type { Absent, Bar } from '../bars.js';
import type { LabBenchOptions } from './options.js';

type Section = (options: LabBenchOptions & { models: string; samples: string }) => Promise<Bar[] | Absent>;

/** Sections that need published models and pictures or recordings. */
const withData = (measure: Section) => async (options: LabBenchOptions): Promise<Bar[] | Absent> => {
  const { models, samples } = options;
  return models === undefined || samples === undefined ? { absent: 'it needs --models FOLDER and --samples FOLDER' } : measure({ ...options, models, samples });
};

/** What `npm run bench:lab` measures: one line a section, loaded on demand. */
export const sections: Readonly<Record<string, (options: LabBenchOptions) => Promise<Bar[] | Absent>>> = {
  gradients: async (options) => (await import('./gradients.js')).gradientBars(options),
  'training-step': async (options) => (await import('./training-step.js')).trainingStepBars(options),
  embedder: withData(async (options) => (await import('./pruning.js')).embedderBars(options)),
  detector: withData(async (options) => (await import('./pruning.js')).detectorBars(options)),
  classifier: withData(async (options) => (await import('./pruning.js')).classifierBars(options)),
  thresholds: withData(async (options) => (await import('./thresholds.js')).thresholdBars(options)),
  adapt: withData(async (options) => (await import('./adapt.js')).adaptBars(options)),
  'adapt-device': withData(async (options) => (await import('./adapt-device.js')).adaptDeviceBars(options)),
  minifloats: withData(async (options) => (await import('./minifloats.js')).minifloatBars(options)),
  sparse: withData(async (options) => (await import('./sparse.js')).sparseBars(options)),
  minillm: withData(async (options) => (await import('./minillm.js')).miniLlmBars(options)),
  novelty: withData(async (options) => (await import('./novelty.js')).noveltyBars(options)),
  margin: withData(async (options) => (await import('./margin.js')).marginBars(options)),
  recommend: withData(async (options) => (await import('./recommend.js')).recommendBars(options)),
  labels: withData(async ({ models, samples, signal }) => (await import('../sound/labels.js')).labelBars('lab', { models, sounds: join(samples, 'esc10'), signal })),
};
