import { describe, expect, it } from 'vitest';
import { rankClasses } from '../../../runtime/kinds/classification/rank.js';
import type { ClassificationSettings } from '../../../runtime/kinds/classification/settings.js';
import { kindOf, parsePipeline } from '../../../runtime/kinds/registry.js';
import { pipelineDescription } from '../../../runtime/stages/contract.js';
import { ModelStage } from '../../../runtime/stages/model-stage.js';
import { fakeSession, floatTensor, frameOf } from '../pipeline/fakes.js';
import { referencePixels } from '../vision/reference-pixels.js';

const model = {
  inputs: [{ name: 'x', type: 'float32' as const, dims: [1, 3, 8, 16] }],
  outputs: [{ name: 'y', type: 'float32' as const, dims: [1, 3] }],
};

const described = (settings: Partial<ClassificationSettings>) => {
  const { stages, settings: defaults } = kindOf('classification').describe({ classifier: model });
  return pipelineDescription.parse({ kind: 'classification', stages, settings: { ...defaults, ...settings } });
};

describe('a classification pipeline', () => {
  it('reads size, tensor and outputs from the model', () => {
    expect(described({}).stages['classifier']).toMatchObject({ model: 'models/classifier.onnx', input: { tensor: 'x', width: 16, height: 8 }, outputs: ['y'] });
    expect(() => kindOf('classification').describe({ classifier: { ...model, outputs: [...model.outputs, ...model.outputs] } })).toThrow(/one float32 output \[1, N\]/);
  });

  it('reports the best classes of a frame, and times its stages', async () => {
    const blueprint = parsePipeline(described({ labels: ['cat', 'dog'], top: 2, score_threshold: 0.05 }));
    const session = fakeSession(() => ({ y: floatTensor([1, 3], [Math.log(1), Math.log(6), Math.log(3)]) }));
    const stages = { classifier: new ModelStage({ ...session, run: () => session.run({ input: { type: 'uint8', dims: [1], data: new Uint8Array(1) } }) }, {
      type: 'pixels', tensor: 'x', width: 16, height: 8, channels: 'rgb', mean: [0, 0, 0], std: [1, 1, 1],
    }) };
    const pipeline = blueprint.create({ name: 'c', version: '1.0.0', embeddingSpaceId: null, stages, pixels: referencePixels, gallery: undefined });
    const result = await pipeline.process(frameOf([1, 2, 3]));
    expect(result.findings.map(({ type, label, score }) => [type, label, Math.round(score * 100)])).toEqual([['class', 'dog', 60], ['class', 'class 2', 30]]);
    expect(result.stages.map(({ stage }) => stage)).toEqual(['motion', 'letterbox', 'classify', 'topk']);
    expect(await pipeline.embed(frameOf([1, 2, 3]))).toEqual([]);
    await pipeline.close();
  });

  it('ranks equal scores by the order of the output, and never a NaN', () => {
    const settings = { activation: 'none', labels: [], top: 3, score_threshold: 0 } as unknown as ClassificationSettings;
    expect(rankClasses(Float32Array.of(0.5, NaN, 0.5, 0.75), settings).map(({ label }) => label)).toEqual(['class 3', 'class 0', 'class 2']);
  });

  it('takes a threshold from the device, and ignores what it has no setting for', () => {
    const blueprint = parsePipeline(described({})).override({ detectThreshold: 0.7, matchThreshold: 0.9 });
    expect(Object.keys(blueprint.stages)).toEqual(['classifier']);
  });
});
