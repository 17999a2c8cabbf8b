import { describe, expect, it } from 'vitest';
import type { CellMask } from '../../../kernels/binding/image.js';
import { defaultIncremental, incrementalSettings, incrementOf } from '../../../runtime/incremental/settings.js';
import { kindOf, parsePipeline } from '../../../runtime/kinds/registry.js';
import { pipelineDescription, pixelsOf } from '../../../runtime/stages/contract.js';
import { ModelStage } from '../../../runtime/stages/model-stage.js';
import type { Session } from '../../../runtime/session-types.js';
import { defaultMotion } from '../../../runtime/vision/settings.js';
import { fakeSession, floatTensor, frameOf } from '../pipeline/fakes.js';
import { nativeMissing } from '../support/native.js';
import { nativePixels } from '../../../runtime/vision/pixels.js';

const increment = incrementOf('detector', incrementalSettings.parse({ enabled: true, dilation_cells: 0 }))['detector'];
const output = { y: floatTensor([1, 42, 85], new Array<number>(42 * 85).fill(0)) };

/** A session that keeps maps; `asked` are the cells of its runs. */
function keeping(): Session & { kept: { valid: boolean }; asked: (CellMask | undefined)[] } {
  const asked: (CellMask | undefined)[] = [];
  const kept = { bytes: 1, valid: false, share: 1, active: null as CellMask | null, drop: (): void => { kept.valid = false; } };
  return { ...fakeSession(() => output), kept, asked, run: async (_feeds, _reused, active) => { await Promise.resolve(); asked.push(active); kept.valid = true; kept.active = active ?? null; return output; } };
}

const cellsOf = (mask: CellMask | null | undefined): number[] | null => (mask === null || mask === undefined ? null : Array.from({ length: mask.width * mask.height }, (_, i) => i).filter((i) => (((mask.bits[i >> 3] ?? 0) >> (i & 7)) & 1) === 1));

/** YOLOX heads of a picture of 64 x 32 pixels, which is stretched. */
function described(settings: object): ReturnType<typeof pipelineDescription.parse> {
  const model = { inputs: [{ name: 'input', type: 'float32' as const, dims: [1, 3, 32, 64] }], outputs: [{ name: 'y', type: 'float32' as const, dims: [1, 42, 85] }] };
  const { stages, settings: defaults } = kindOf('detection').describe({ detector: model });
  const { detector, ...rest } = defaults as { detector: object };
  return pipelineDescription.parse({ kind: 'detection', stages, settings: { ...rest, detector: { ...detector, fit: 'stretch' }, motion: { ...defaultMotion, enabled: false }, ...settings } });
}

describe('settings of incremental stages', () => {
  it('are off unless they are switched on, by a package or by who opens it', () => {
    expect(incrementOf('detector', defaultIncremental)).toEqual({});
    expect(parsePipeline(described({})).increments).toEqual({});
    const stated = parsePipeline(described({ incremental: { enabled: true, cell_threshold: 4 } }));
    expect(stated.increments).toMatchObject({ detector: { session: { context: 1 }, chooser: { threshold: 4, dilation: 2, fullEvery: 25, fullShare: 0.6 } } });
    expect(stated.override({ incremental: false }).increments).toEqual({});
    expect(stated.override({ motionGate: false }).increments, 'without gates everything runs in full').toEqual({});
    expect(Object.keys(stated.override({ motionGate: false, incremental: true }).increments)).toEqual(['detector']);
    expect(Object.keys(parsePipeline(described({})).override({ incremental: true }).increments)).toEqual(['detector']);
    // A detector that stops at its features may compute a part of what comes before and behind them.
    const both = parsePipeline(described({ features: { enabled: true, split: 'layer', threshold: 0.2 } })).override({ incremental: true });
    expect([both.gates.splits, Object.keys(both.increments)]).toEqual([{ detector: 'layer' }, ['detector']]);
    expect(() => parsePipeline(described({ incremental: { enabled: true, full_share: 2 } }))).toThrow(/settings\.incremental\.full_share/);
  });
});

describe.skipIf(nativeMissing !== undefined)(`an incremental detector${nativeMissing === undefined ? '' : ` (${nativeMissing})`}`, () => {
  const contract = parsePipeline(described({})).stages['detector'];
  if (contract === undefined || increment === undefined) throw new Error('no stage');

  it('asks for what has changed on its canvas, and for everything when the session keeps nothing', async () => {
    const session = keeping();
    const stage = new ModelStage(session, pixelsOf(contract), increment);
    const paint = (cell: number): Uint8Array => stage.canvas.data.fill(200, cell * 24, cell * 24 + 24);
    await stage.run();
    await stage.run();
    for (let row = 0; row < 8; row++) paint(8 * row + 3); // cell 3 of the first row
    await stage.run();
    expect([session.asked.map(cellsOf), cellsOf(stage.active)]).toEqual([[null, [], [3]], [3]]);
    session.kept.valid = false;
    await stage.run();
    expect([session.asked.at(-1), stage.active]).toEqual([undefined, null]);
  });

  it('asks for less when its gates are wider, and for everything of a picture that no frame came before', async () => {
    const session = keeping();
    const stage = new ModelStage(session, pixelsOf(contract), increment);
    stage.canvas.data.fill(100);
    await stage.run();
    stage.canvas.data.fill(108);
    stage.changeFactor = 2; // of a threshold of 6
    await stage.run();
    expect(cellsOf(session.asked.at(-1))).toEqual([]);
    stage.afresh();
    await stage.run();
    stage.load(stage.canvas.data.slice(), 'a golden vector');
    await stage.run();
    expect(session.asked.slice(-2)).toEqual([undefined, undefined]);
  });

  it('runs in full on a session that keeps no maps, and on grey pictures', async () => {
    const plain = new ModelStage(fakeSession(() => output), pixelsOf(contract), increment);
    await plain.run();
    await plain.run();
    expect(plain.active).toBeNull();
    const session = keeping();
    const grey = new ModelStage(session, { ...pixelsOf(contract), channels: 'grey', mean: [0], std: [1] }, increment);
    await grey.run();
    await grey.run();
    expect(session.asked).toEqual([undefined, undefined]);
  });

  it('makes frames that the pipeline calls partial, with the cells that were computed', async () => {
    const stage = new ModelStage(keeping(), pixelsOf(contract), increment);
    const pipeline = parsePipeline(described({})).create({ name: 'd', version: '1.0.0', embeddingSpaceId: null, stages: { detector: stage }, pixels: nativePixels, gallery: undefined });
    expect(await pipeline.process(frameOf([9, 9, 9], { width: 64, height: 32 }))).toMatchObject({ exit: 'full', cells: null });
    const frame = frameOf([9, 9, 9], { width: 64, height: 32 });
    for (let y = 0; y < 8; y++) frame.data.fill(200, y * 192, y * 192 + 24);
    const { exit, cells } = await pipeline.process(frame);
    expect([exit, cellsOf(cells)]).toEqual(['partial', [0]]);
    await pipeline.close();
  });

  it('holds memory that a pipeline can give back, and then computes everything once', async () => {
    const stage = new ModelStage(keeping(), pixelsOf(contract), increment);
    const pipeline = parsePipeline(described({})).create({ name: 'd', version: '1.0.0', embeddingSpaceId: null, stages: { detector: stage }, pixels: nativePixels, gallery: undefined });
    const next = async () => (await pipeline.process(frameOf([9, 9, 9], { width: 64, height: 32 }))).exit;
    expect(pipeline.keptBytes).toBe(0);
    expect([await next(), await next(), pipeline.keptBytes]).toEqual(['full', 'partial', stage.session.kept?.bytes]);
    pipeline.dropKept?.();
    expect(pipeline.keptBytes).toBe(0);
    expect([await next(), await next()]).toEqual(['full', 'partial']);
    await pipeline.close();
  });
});
