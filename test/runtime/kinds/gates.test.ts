import { describe, expect, it } from 'vitest';
import type { CellMask } from '../../../kernels/binding/image.js';
import { incrementalSettings } from '../../../runtime/incremental/settings.js';
import { parsePipeline } from '../../../runtime/kinds/registry.js';
import type { Pipeline } from '../../../runtime/pipeline/types.js';
import type { Session } from '../../../runtime/session-types.js';
import { ModelStage } from '../../../runtime/stages/model-stage.js';
import { describedWith, fakeSession, floatTensor, frameOf, settings, type FakeFace } from '../pipeline/fakes.js';
import { nativeMissing } from '../support/native.js';
import { referencePixels } from '../vision/reference-pixels.js';
import { pixelsOf } from '../../../runtime/stages/contract.js';

const features = { enabled: true, split: 'conv', threshold: 0.2, learning_shift: 4, patience_frames: 10, renewal_share: 1, full_pass_every_ms: 10_000, track_ms: 500 };
const face: FakeFace = { box: [0.25, 0.25, 0.75, 0.75], score: 0.9 };

/** A detector whose features are a map of 4 x 4 cells: its second channel is what `lit` says of each cell. */
function setUp({ faces = [] as FakeFace[], lit = new Set<number>(), motion = false, audit = 0, gate = true, incremental = false } = {}): { pipeline: Pipeline; runs: { prefix: number; suffix: number; whole: number; audits: number } } {
  const runs = { prefix: 0, suffix: 0, whole: 0, audits: 0 };
  const outputs = () => ({
    scores: floatTensor([1, faces.length, 2], faces.flatMap(({ score }) => [1 - score, score])),
    boxes: floatTensor([1, faces.length, 4], faces.flatMap(({ box }) => box)),
  });
  const kept = { bytes: 1, valid: false, share: 1, active: null as CellMask | null, drop: () => undefined };
  const computing = (active: CellMask | undefined): void => {
    [kept.active, kept.valid] = [active ?? null, true];
  };
  const detector: Session = {
    ...fakeSession(() => { runs.whole += 1; return outputs(); }), ...(incremental ? { kept } : {}),
    split: {
      name: 'conv', zeroPoint: 0, features: { name: 'f', type: 'uint8', dims: [1, 4, 4, 2] },
      prefix: async (_feeds, active) => { runs.prefix += 1; computing(active); return Promise.resolve({ type: 'uint8', dims: [1, 4, 4, 2], data: Uint8Array.from({ length: 32 }, (_, i) => (i % 2 === 0 ? 100 : lit.has(i >> 1) ? 200 : 0)) }); },
      suffix: async () => { runs.suffix += 1; return Promise.resolve(outputs()); },
    },
  };
  const landmarks = fakeSession(() => ({ output: floatTensor([1, 136], new Float32Array(136).fill(0.5)) }));
  const embedder = fakeSession(() => ({ output: floatTensor([1, 4], [1, 0, 0, 0]) }));
  const blueprint = parsePipeline(describedWith({ motion: { ...settings.motion, enabled: motion }, features, audit: { share: audit, miss_limit: 0.5 }, incremental: incrementalSettings.parse({ enabled: incremental, dilation_cells: 0 }) })).override({ featureGate: gate });
  expect(blueprint.gates).toEqual({ splits: gate ? { detector: 'conv' } : {}, audited: audit > 0 && (gate || motion) ? ['detector'] : [] });
  const stage = (name: string, session: Session): ModelStage => {
    const contract = blueprint.stages[name];
    if (contract === undefined) throw new Error('no stage');
    return new ModelStage(session, pixelsOf(contract), blueprint.increments[name]);
  };
  const pipeline = blueprint.create({
    name: 'fake', version: '1.0.0', embeddingSpaceId: null, pixels: referencePixels, gallery: undefined, auditSeed: 1,
    stages: { detector: stage('detector', detector), landmarks: stage('landmarks', landmarks), embedder: stage('embedder', embedder) },
    auditStages: () => Promise.resolve({ detector: stage('detector', fakeSession(() => { runs.audits += 1; return outputs(); })) }),
  });
  return { pipeline, runs };
}

const settle = (): Promise<void> => new Promise((resolve) => { setTimeout(resolve, 5); });

describe.skipIf(nativeMissing !== undefined)(`a pipeline with a gate on features${nativeMissing === undefined ? '' : ` (${nativeMissing})`}`, () => {
  it('stops after the first layers while nothing is new, and goes on from there when something is', async () => {
    const [faces, lit] = [[] as FakeFace[], new Set<number>()];
    const { pipeline, runs } = setUp({ faces, lit });
    const at = (capturedMs: number) => pipeline.process(frameOf([9, 9, 9], { capturedMs }));
    expect(await at(0)).toMatchObject({ exit: 'full', cells: { width: 4, height: 4 } });
    const quiet = await at(40);
    expect(quiet).toMatchObject({ exit: 'features', findings: [], audit: false });
    expect(quiet.stages.map(({ stage }) => stage)).toEqual(['letterbox', 'features', 'gate']);
    lit.add(5);
    faces.push(face);
    const seen = await at(80);
    expect(seen).toMatchObject({ exit: 'full', findings: [{ label: 'face' }] });
    expect([...(seen.cells?.bits ?? [])]).toEqual([1 << 5, 0]);
    expect(runs).toEqual({ prefix: 3, suffix: 2, whole: 0, audits: 0 });
    await pipeline.close();
  });

  it('drops a box over quiet cells that nobody saw coming', async () => {
    const [faces, lit] = [[] as FakeFace[], new Set<number>()];
    const { pipeline } = setUp({ faces, lit });
    await pipeline.process(frameOf([9, 9, 9]));
    lit.add(15);
    faces.push({ box: [0, 0, 0.2, 0.2], score: 0.9 });
    expect(await pipeline.process(frameOf([9, 9, 9], { capturedMs: 40 }))).toMatchObject({ exit: 'full', findings: [] });
    await pipeline.close();
  });

  it('is one ladder with the pixel gate and incremental runs: a frame stops at the pixels or at the features, or a part or all of it is computed', async () => {
    const [faces, lit] = [[] as FakeFace[], new Set<number>()];
    const { pipeline, runs } = setUp({ faces, lit, motion: true, incremental: true });
    const at = async (capturedMs: number, corner: number) => {
      const frame = frameOf([9, 9, 9], { capturedMs, width: 32, height: 32 });
      for (let y = 0; y < 8; y++) frame.data.fill(corner, y * 96, y * 96 + 24);
      return (await pipeline.process(frame)).exit;
    };
    expect(await at(0, 9)).toBe('full');
    expect(await at(1000, 9)).toBe('pixels');
    expect(await at(1040, 90)).toBe('features'); // a corner has changed, and the features of it say nothing
    lit.add(0);
    expect(await at(1080, 200)).toBe('partial');
    expect(runs).toMatchObject({ prefix: 3, suffix: 2, whole: 0 });
    await pipeline.close();
  });

  it('runs whole when the gate is switched off', async () => {
    const { pipeline, runs } = setUp({ gate: false });
    for (const capturedMs of [0, 40]) expect((await pipeline.process(frameOf([9, 9, 9], { capturedMs }))).exit).toBe('full');
    expect(runs).toMatchObject({ prefix: 0, whole: 2 });
    await pipeline.close();
  });

  it('audits frames that stop, tightens when it finds what they missed, and at last lets every frame through', async () => {
    const faces: FakeFace[] = [];
    const { pipeline, runs } = setUp({ faces, audit: 1 });
    const at = (capturedMs: number) => pipeline.process(frameOf([9, 9, 9], { capturedMs }));
    await at(0);
    faces.push(face);
    const first = await at(40);
    expect(first).toMatchObject({ exit: 'features', audit: true });
    await settle();
    expect(pipeline.gates).toMatchObject({ strictness: 'set', audits: 0, skipped: 1 });
    const strictness: (string | undefined)[] = [];
    for (let i = 2; i < 30; i++) {
      const { exit } = await at(40 * i);
      await settle();
      strictness.push(pipeline.gates?.strictness);
      if (exit === 'full') break;
    }
    expect([...new Set(strictness)]).toEqual(['set', 'tight', 'tightest', 'off']);
    expect(pipeline.gates?.misses).toBeGreaterThan(4);
    expect(runs.audits).toBeGreaterThan(8);
    expect((await at(5000)).findings).toHaveLength(1);
    await pipeline.close();
  });
});
