import { describe, expect, it } from 'vitest';
import { kindOf, parsePipeline } from '../../../runtime/kinds/registry.js';
import { noise } from '../../../runtime/noise.js';
import { pipelineDescription } from '../../../runtime/stages/contract.js';
import { ModelStage } from '../../../runtime/stages/model-stage.js';
import { fakeSession, floatTensor, frameOf } from '../pipeline/fakes.js';
import { referencePixels } from '../vision/reference-pixels.js';

const described = (dimensions: number, settings: object) => {
  const model = { inputs: [{ name: 'x', type: 'float32' as const, dims: [1, 3, 8, 16] }], outputs: [{ name: 'y', type: 'float32' as const, dims: [1, dimensions] }] };
  const { stages, settings: defaults } = kindOf('embedding').describe({ embedder: model });
  return pipelineDescription.parse({ kind: 'embedding', stages, settings: { ...defaults, ...settings } });
};

describe('an embedding pipeline with novelty', () => {
  it('reports a frame that resembles nothing seen before, and times the stage', async () => {
    const next = noise(4);
    const uniform = () => next() / 2 ** 32 - 0.5;
    const things = [1, 2, 3].map(() => Array.from({ length: 128 }, uniform));
    let thing = 0;
    const session = fakeSession(() => ({ y: floatTensor([1, 128], (things[thing] ?? []).map((value) => value + 0.2 * uniform())) }));
    const stages = { embedder: new ModelStage({ ...session, run: () => session.run({ input: { type: 'uint8', dims: [1], data: new Uint8Array(1) } }) }, {
      type: 'pixels', tensor: 'x', width: 16, height: 8, channels: 'rgb', mean: [0, 0, 0], std: [1, 1, 1],
    }) };
    const pipeline = parsePipeline(described(128, { novelty: { neurons: 100, learn_first: 400 } })).override({ motionGate: false })
      .create({ name: 'n', version: '1.0.0', embeddingSpaceId: null, stages, pixels: referencePixels, gallery: undefined });
    const look = async (of: number) => {
      thing = of;
      return pipeline.process(frameOf([1, 2, 3]));
    };
    for (let i = 0; i < 600; i++) await look(i % 2);
    expect((await look(0)).findings).toEqual([]);
    const result = await look(2);
    expect(result.findings).toEqual([{ type: 'class', label: 'novel', score: expect.any(Number) as number }]);
    expect(result.stages.map(({ stage }) => stage)).toEqual(['letterbox', 'embed', 'novelty']);
    await pipeline.close();
  });

  it('refuses settings that make no sense, by name', () => {
    expect(() => parsePipeline(described(64, { novelty: {} }))).toThrow('novelty needs embeddings of 100 to 32768 values, and these have 64');
    expect(() => parsePipeline(described(128, { novelty: { neurons: 5 } }))).toThrow(/settings\.novelty\.neurons/);
  });
});
