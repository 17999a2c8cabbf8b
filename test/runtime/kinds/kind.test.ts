import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { defineKind } from '../../../runtime/kinds/kind.js';
import { describeStage, modelOf } from '../../../runtime/kinds/pixel-input.js';
import { kindOf, kinds, parsePipeline } from '../../../runtime/kinds/registry.js';
import { inFull, VisionPipeline } from '../../../runtime/kinds/vision-pipeline.js';
import { pipelineDescription, pixelsOf } from '../../../runtime/stages/contract.js';
import { ModelStage } from '../../../runtime/stages/model-stage.js';
import { stageOf } from '../../../runtime/stages/open-stages.js';
import { defaultMotion } from '../../../runtime/vision/settings.js';
import { describedWith, description, fakeSession, floatTensor, frameOf } from '../pipeline/fakes.js';
import { referencePixels } from '../vision/reference-pixels.js';

/** What runtime/kinds/README.md says that a new kind takes: this definition in a folder of its own, and one line in the registry. */
const brightness = defineKind({
  name: 'brightness',
  roles: { meter: { what: 'model with one output', goldenVectors: 1, quantized: true } },
  settings: z.object({ limit: z.number().min(0).max(1) }),
  describe: (models) => ({
    stages: { meter: describeStage('meter', modelOf(models, 'meter'), 'meter', { channels: 'grey', mean: 0, std: 1 }) }, settings: { limit: 0.5 },
  }),
  override: (settings, { detectThreshold }) => ({ limit: detectThreshold ?? settings.limit }),
  create: (parts, { limit }) => new VisionPipeline(parts, { motion: { ...defaultMotion, enabled: false } }, {
    process: async (image, stages) => {
      parts.pixels.fit(image, stageOf(stages, 'meter').canvas, 'stretch');
      const score = Number((await stageOf(stages, 'meter').run())['y']?.data[0]);
      return inFull(score >= limit ? [{ type: 'class', label: 'bright', score }] : []);
    },
    rehearse: async (image, stages) => void await stageOf(stages, 'meter').run(),
  }),
});

const meter = { inputs: [{ name: 'input', type: 'float32' as const, dims: [1, 1, 4, 4] }], outputs: [{ name: 'y', type: 'float32' as const, dims: [1, 1] }] };

describe('a toy kind', () => {
  it('is described, parsed and run by what every kind is', async () => {
    const stated = pipelineDescription.parse({ kind: 'brightness', ...brightness.describe({ meter }) });
    const session = fakeSession((pixels) => ({ y: floatTensor([1, 1], [(pixels[0] ?? 0) / 255]) }));
    const parts = { name: 'b', version: '1.0.0', embeddingSpaceId: null, pixels: referencePixels, gallery: undefined };
    const contract = stated.stages['meter'];
    if (contract === undefined) throw new Error('no stage');
    const pipeline = brightness.parse(stated).override({ detectThreshold: 0.9 }).create({ ...parts, stages: { meter: new ModelStage(session, pixelsOf(contract)) } });
    expect((await pipeline.process(frameOf([255, 255, 255]))).findings).toEqual([{ type: 'class', label: 'bright', score: 1 }]);
    expect((await pipeline.process(frameOf([100, 100, 100]))).findings).toEqual([]);
    await pipeline.close();
    expect(session.closed).toBe(true);
  });

  it('names what is wrong with stages and settings', () => {
    const stated = pipelineDescription.parse({ kind: 'brightness', ...brightness.describe({ meter }) });
    expect(() => brightness.parse({ ...stated, settings: { limit: 7 } })).toThrow(/settings\.limit/);
    expect(() => brightness.parse({ ...stated, stages: { motor: stated.stages['meter'] ?? {} } } as never)).toThrow(/meter is missing, motor is unknown/);
    expect(() => brightness.describe({})).toThrow(/Expected a model for the stage meter/);
  });
});

describe('the registry', () => {
  it('has one kind a name', () => {
    expect(new Set(kinds.map(({ name }) => name)).size).toBe(kinds.length);
  });

  it('says that a newer Sterna may know a kind that it does not', () => {
    expect(() => kindOf('telepathy')).toThrow(expect.objectContaining({ code: 'E_PACKAGE_VERSION', message: expect.stringContaining('face-recognition') as string }) as Error);
  });

  it('refuses face pipelines whose landmarks are a stage without settings, or the other way round', () => {
    expect(() => parsePipeline({ ...description, settings: { ...description.settings, landmarks: null } })).toThrow(/exactly when/);
    expect(() => parsePipeline({ ...description, stages: describedWith({ landmarks: null }).stages })).toThrow(/exactly when/);
  });
});
