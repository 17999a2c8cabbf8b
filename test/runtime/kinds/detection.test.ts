import { describe, expect, it } from 'vitest';
import { kindOf, parsePipeline } from '../../../runtime/kinds/registry.js';
import { producersOf } from '../../../runtime/graph/graph.js';
import { outputEnds } from '../../../runtime/onnx/heads.js';
import type { OnnxGraph } from '../../../runtime/onnx/types.js';
import { pipelineDescription, pixelsOf } from '../../../runtime/stages/contract.js';
import { ModelStage } from '../../../runtime/stages/model-stage.js';
import { floatTensor, frameOf, fakeSession } from '../pipeline/fakes.js';
import { defaultMotion } from '../../../runtime/vision/settings.js';
import type { FindingRules } from '../../../runtime/vision/zones/settings.js';
import { referencePixels } from '../vision/reference-pixels.js';

const yolox = { inputs: [{ name: 'input', type: 'float32' as const, dims: [1, 3, 32, 64] }], outputs: [{ name: 'y', type: 'float32' as const, dims: [1, 42, 85] }] };

const described = (settings: object = {}) => {
  const { stages, settings: defaults } = kindOf('detection').describe({ detector: yolox });
  return pipelineDescription.parse({ kind: 'detection', stages, settings: { ...defaults, ...settings } });
};

describe('a detection pipeline', () => {
  it('is described from the outputs of the model, and survives JSON', () => {
    const stated = described();
    expect(stated.stages['detector']?.input).toMatchObject({ width: 64, height: 32, channels: 'bgr', mean: [0, 0, 0], std: [1, 1, 1] });
    expect(stated.settings).toMatchObject({ detector: { fit: 'letterbox', pad: 114, decoder: { type: 'yolox', strides: [8, 16, 32] } }, labels: expect.arrayContaining(['person', 'toothbrush']) as string[] });
    expect(Object.keys(parsePipeline(JSON.parse(JSON.stringify(stated)) as typeof stated).stages)).toEqual(['detector']);
  });

  it('finds labeled boxes in pixels of the frame, suppressed within each class', async () => {
    const rows = new Array<number>(42 * 85).fill(0);
    // Cells 0 and 1 are one box of two columns: offsets 1 and 0 from them, 8 pixels wide and high.
    const put = (cell: number, dx: number, label: number, score: number): void => {
      rows.splice(cell * 85, 5, dx, 1, 0, 0, 1);
      rows[cell * 85 + 5 + label] = score;
    };
    put(0, 1, 0, 0.75);
    put(1, 0, 0, 0.5);
    put(2, 0, 2, 0.875);
    const session = fakeSession(() => ({ y: floatTensor([1, 42, 85], rows) }));
    const blueprint = parsePipeline(described());
    const stage = blueprint.stages['detector'];
    if (stage === undefined) throw new Error('no stage');
    const input = pixelsOf(stage);
    const pipeline = blueprint.create({ name: 'd', version: '1.0.0', embeddingSpaceId: null, stages: { detector: new ModelStage(session, input) }, pixels: referencePixels, gallery: undefined });
    const frame = frameOf([1, 2, 3]);
    const { findings, stages } = await pipeline.process(frame);
    expect(findings.map(({ label, score }) => [label, score])).toEqual([['car', 0.875], ['person', 0.75]]);
    expect(stages.map(({ stage }) => stage)).toEqual(['motion', 'letterbox', 'detect', 'decode_boxes', 'nms']);
    await pipeline.close();
  });

  it('follows objects when it is told to: one finding each, also while they are seen badly, and while the gate is closed', async () => {
    const box = { x: 0, score: 0.75 };
    const session = fakeSession(() => {
      const rows = new Array<number>(42 * 85).fill(0);
      rows.splice(9 * 85, 6, box.x, 0, 1, 1, 1, box.score);
      return { y: floatTensor([1, 42, 85], rows) };
    });
    const blueprint = parsePipeline(described({ motion: { enabled: true, cell_threshold: 10, min_cells: 1, hold_ms: 1, repeat_ms: 0, full_pass_every_ms: 60_000 } })).override({ tracking: true });
    const stage = blueprint.stages['detector'];
    if (stage === undefined) throw new Error('no stage');
    const input = pixelsOf(stage);
    const pipeline = blueprint.create({ name: 'd', version: '1.0.0', embeddingSpaceId: null, stages: { detector: new ModelStage(session, input) }, pixels: referencePixels, gallery: undefined });
    const at = async (capturedMs: number, { level = 50, still = false, width = 64 } = {}) => (await pipeline.process({ ...frameOf([level, level, level], { capturedMs, width }), ...(still ? { still } : {}) }));
    const move = (i: number): void => { box.x = i / 10; };
    expect((await at(0)).findings).toMatchObject([{ type: 'detection', track: 1, label: 'person', score: 0.75 }]);
    move(1);
    const second = await at(40, { level: 100 });
    expect(second.findings).toMatchObject([{ type: 'track', track: 1, label: 'person', status: 'seen', ageMs: 40 }]);
    expect(second.stages.map(({ stage }) => stage)).toContain('track');
    // 0.2 is less than the threshold of 0.3: no finding by itself, but the track goes on.
    box.score = 0.2;
    expect((await at(80, { level: 50 })).findings).toMatchObject([{ type: 'track', track: 1, status: 'seen', score: expect.closeTo(0.2, 5) as number }]);
    const stopped = await at(3000, { level: 50 });
    expect(stopped).toMatchObject({ exit: 'pixels', findings: [{ type: 'track', track: 1, status: 'held', velocity: [0, 0] }] });
    box.score = 0.75;
    // A photo is looked at by itself.
    expect((await at(3040, { level: 200, still: true })).findings).toEqual([expect.not.objectContaining({ track: 1 })]);
    // Another size is another scene, and its numbers are new.
    expect((await at(3080, { level: 90, width: 128 })).findings).toMatchObject([{ type: 'detection', track: 2 }]);
    await pipeline.close();
  });

  it('leaves out what the rules leave out, also when they change', async () => {
    const rows = new Array<number>(42 * 85).fill(0);
    rows.splice(0, 6, 1, 1, 0, 0, 1, 0.75); // a person of 8 x 8 pixels around (8, 8)
    const session = fakeSession(() => ({ y: floatTensor([1, 42, 85], rows) }));
    const blueprint = parsePipeline(described({ motion: { ...defaultMotion, enabled: false } }));
    const stage = blueprint.stages['detector'];
    if (stage === undefined) throw new Error('no stage');
    const input = pixelsOf(stage);
    const parts = { name: 'd', version: '1.0.0', embeddingSpaceId: null, pixels: referencePixels, gallery: undefined };
    const pipeline = blueprint.create({ ...parts, stages: { detector: new ModelStage(session, input) }, rules: { labels: ['car'] } });
    const found = async (rules?: FindingRules): Promise<unknown[]> => {
      if (rules !== undefined) pipeline.setRules?.(rules);
      return (await pipeline.process(frameOf([1, 2, 3]))).findings;
    };
    expect(await found()).toEqual([]);
    expect(await found({})).toMatchObject([{ label: 'person' }]);
    const points = [[0, 0], [1, 0], [1, 1], [0, 1]] as const;
    expect(await found({ zones: [{ name: 'yard', kind: 'include', points }] })).toMatchObject([{ label: 'person', zones: ['yard'] }]);
    expect(await found({ zones: [{ name: 'yard', kind: 'exclude', points }] })).toEqual([]);
    await pipeline.close();
  });

  it('names the field that is wrong, and the family that nothing fits', () => {
    expect(() => parsePipeline(described({ detector: { fit: 'letterbox', decoder: { type: 'telepathy' } } }))).toThrow(/settings\.detector\.decoder/);
    expect(() => kindOf('detection').describe({ detector: { ...yolox, outputs: [{ name: 'y', type: 'float32', dims: [1, 7] }] } })).toThrow(/y float32\[1, 7\].*YOLOX/);
  });
});

it('finds what computes an output, through movements of data and all parts of a concatenation', () => {
  const node = (op: string, inputs: string[], output: string): OnnxGraph['nodes'][number] => ({ name: '', op, domain: '', inputs, outputs: [output], attributes: new Map() });
  const nodes = [node('Conv', ['x'], 'a'), node('Sigmoid', ['a'], 'b'), node('Reshape', ['b', 's'], 'c'), node('Concat', ['a', 'c'], 'd'), node('Transpose', ['d'], 'y')];
  expect(outputEnds(producersOf(nodes), 'y')).toEqual(['Conv', 'Sigmoid']);
});
