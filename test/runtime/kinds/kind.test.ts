import { describe, expect, it } from 'vitest';
import { kindOf, kinds, parsePipeline } from '../../../runtime/kinds/registry.js';
import { pipelineDescription, pixelsOf } from '../../../runtime/stages/contract.js';
import { ModelStage } from '../../../runtime/stages/model-stage.js';
import { describedWith, description, fakeSession, floatTensor, frameOf } from '../pipeline/fakes.js';
import { brightness } from './brightness.js';
import { referencePixels } from '../vision/reference-pixels.js';

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
