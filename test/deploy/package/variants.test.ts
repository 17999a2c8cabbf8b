import { describe, expect, it } from 'vitest';
import { buildPipelinePackage } from '../../../deploy/package/build.js';
import type { PipelinePackageOptions } from '../../../deploy/package/build.js';
import { reportPackage } from '../../../deploy/compress/inspect.js';
import type { Frame } from '../../../runtime/frame.js';
import { buildPackage, openPackage, selfTest } from '../../../runtime/package/index.js';
import type { ModelPackage } from '../../../runtime/package/package.js';
import { createPipeline } from '../../../runtime/pipeline/index.js';
import type { Pipeline } from '../../../runtime/pipeline/types.js';
import { frameOf } from '../../runtime/pipeline/fakes.js';
import { nativeMissing } from '../../runtime/support/native.js';
import { meanModel, tinyModels } from './tiny-models.js';

const { landmarks, embedder, detector } = tinyModels();

/** Finds one box, a share of the frame that grows with its grey level, in a picture of any size. */
function growing(size: [number, number], shares: number[], shift = 0): Uint8Array {
  return meanModel([1, 3, ...size], [
    { name: 'scores', weights: [[0, 0, 0], [0, 0, 0]], bias: [0.1, 0.9], dims: [1, 1, 2] },
    { name: 'boxes', weights: shares.map((share) => [share, 0, 0]), bias: [0.25 + shift, 0.25, 0.6 + shift, 0.6], dims: [1, 1, 4] },
  ]);
}

const models = { detector: growing([96, 128], [0, 0, 0.1, 0.1]), landmarks, embedder };
const small = growing([24, 32], [0, 0, 0.11, 0.11], 0.01);
const pictures = [frameOf([200, 30, 40]), frameOf([20, 190, 60])];
const measured = { variants: [{ name: 'small', models: { detector: small } }], variantPictures: pictures };

async function packed(change: Partial<PipelinePackageOptions> = {}): Promise<ModelPackage> {
  const built = await buildPipelinePackage('face-recognition', models, { name: 'varied', version: '1.0.0', variants: [{ name: 'small', models: { detector: small }, figures: { load: 0.4, cost: 0.1 } }], ...change });
  return openPackage(built.bytes);
}

/** The same with another manifest, or other files. */
async function restated(modelPackage: ModelPackage, change: (manifest: ModelPackage['manifest']) => Partial<ModelPackage['manifest']>, files: Record<string, Uint8Array> = {}): Promise<ModelPackage> {
  const { manifest } = modelPackage;
  const kept = Object.fromEntries(manifest.files.map(({ path }) => [path, modelPackage.file(path).slice()]));
  return openPackage((await buildPackage({ ...manifest, ...change(manifest) }, { ...kept, ...files })).bytes);
}

const frames = (n: number, from = 0): Frame[] => Array.from({ length: n }, (_, i) => frameOf([(from + i) * 5 % 250, 80, 120], { sequence: from + i, capturedMs: (from + i) * 40 }));
const open = (modelPackage: ModelPackage, options = {}): Promise<Pipeline> => createPipeline(modelPackage, { motionGate: false, ...options });
const seen = async (pipeline: Pipeline, list: readonly Frame[]) => {
  const results = [];
  for (const frame of list) results.push((await pipeline.process(frame)).findings);
  return results;
};

describe.skipIf(nativeMissing !== undefined)('a variant of a package', () => {
  it('is packed with its own golden vectors, and what it saves and costs is measured', async () => {
    // The network of a large picture takes far longer, however busy the machine is.
    const large = { ...models, detector: growing([768, 1024], [0, 0, 0.1, 0.1]) };
    const { manifest } = await openPackage((await buildPipelinePackage('face-recognition', large, { name: 'varied', version: '1.0.0', ...measured })).bytes);
    const [variant] = manifest.variants ?? [];
    expect(variant).toMatchObject({ name: 'small', cost: 0, stages: { detector: { model: 'variants/small/detector.onnx', input: { width: 32, height: 24 } } }, golden: [{ stage: 'detector', input: 'golden/small-detector-0.u8' }] });
    expect(variant?.load).toBeGreaterThan(0);
    expect(variant?.load).toBeLessThan(1);
    expect(manifest.files.map(({ path }) => path)).toContain('variants/small/detector.onnx');
    const elsewhere = await openPackage((await buildPipelinePackage('face-recognition', large, { name: 'varied', version: '1.0.0', ...measured, variants: [{ name: 'blind', models: { detector: growing([24, 32], [0, 0, 0, 0], 0.35) } }] })).bytes);
    expect(elsewhere.manifest.variants?.[0]?.cost, 'its box covers none by half').toBe(1);
  });

  it('is recorded on pictures that can be read only once', async () => {
    const once = async function* () { for (const [red, green, blue] of [[200, 30, 40], [20, 190, 60]] as const) { await Promise.resolve(); yield frameOf([red, green, blue], { width: 256, height: 256 }); } };
    const { manifest } = await packed({ goldenPictures: once() });
    expect(manifest.variants?.[0]?.golden).toHaveLength(1);
  });

  it.each([
    ['a stage that all variants share', { variants: [{ name: 'small', models: { embedder } }] }, /Expected models of the detector in the variant small but received embedder/],
    ['pictures without anything in them', { ...measured, variantPictures: [] }, /Nothing is found in the pictures/],
  ])('is refused with %s', async (_, change, message) => {
    await expect(packed(change)).rejects.toMatchObject({ code: 'E_USAGE', message: expect.stringMatching(message) as string });
  });

  it('takes over between two frames: none is lost, and each has the findings of the networks that it went through', async () => {
    const modelPackage = await packed();
    const [own, alone, switching] = await Promise.all([open(modelPackage, { tracking: false }), open(modelPackage, { tracking: false }), open(modelPackage, { tracking: false })]);
    await alone.setVariant?.('small');
    const list = frames(40);
    const [asOwn, asVariant] = [await seen(own, list), await seen(alone, list)];
    expect(asOwn).not.toEqual(asVariant);
    const ran: (string | null)[] = [];
    const findings: unknown[] = [];
    const changes: Promise<void>[] = [];
    for (const [i, frame] of list.entries()) {
      if (i === 5) changes.push(switching.setVariant?.('small') ?? Promise.reject(new Error('no variants')));
      if (i === 25) await changes[0];
      if (i === 30) changes.push(switching.setVariant?.(null) ?? Promise.reject(new Error('no variants')));
      const { findings: found, sequence, variant = null } = await switching.process(frame);
      expect(sequence).toBe(frame.sequence);
      expect(found, `frame ${i}`).toEqual((variant === null ? asOwn : asVariant)[i]);
      findings.push(found);
      ran.push(variant);
    }
    await Promise.all(changes);
    expect(findings).toHaveLength(list.length);
    expect(ran.slice(0, 5)).toEqual([null, null, null, null, null]);
    expect(ran.slice(25, 30)).toEqual(['small', 'small', 'small', 'small', 'small']);
    expect(ran.at(-1)).toBeNull();
    // There, and back.
    expect(ran.filter((name, i) => i > 0 && name !== ran[i - 1])).toHaveLength(2);
    for (const pipeline of [own, alone, switching]) await pipeline.close();
  });

  it('goes on with the tracks, and takes memory only while it is in use', async () => {
    const pipeline = await open(await packed());
    const memory = pipeline.memoryBytes;
    const trackOf = async (list: readonly Frame[]) => (await seen(pipeline, list)).at(-1)?.map((finding) => ('track' in finding ? finding.track : null));
    expect(await trackOf(frames(4))).toEqual([1]);
    await pipeline.setVariant?.('small');
    expect(pipeline.memoryBytes).toBeGreaterThan(memory);
    expect(await trackOf(frames(4, 4))).toEqual([1]);
    await pipeline.setVariant?.(null);
    expect([await trackOf(frames(4, 8)), pipeline.variant, pipeline.memoryBytes]).toEqual([[1], null, memory]);
    await pipeline.close();
  });

  it('begins with gates that have learned nothing, and so does the pipeline afterwards', async () => {
    const motion = { enabled: true, cell_threshold: 10, min_cells: 1, hold_ms: 0, repeat_ms: 60_000, full_pass_every_ms: 60_000 };
    const pipeline = await createPipeline(await packed({ overrides: { settings: { motion, audit: { share: 0, miss_limit: 0.01 } } } }));
    const still = async (i: number) => (await pipeline.process(frameOf([50, 50, 50], { sequence: i, capturedMs: i * 1000 }))).exit;
    expect([await still(0), await still(1), await still(2)]).toEqual(['full', 'pixels', 'pixels']);
    await pipeline.setVariant?.('small');
    expect([await still(3), await still(4)]).toEqual(['full', 'pixels']);
    await pipeline.setVariant?.(null);
    expect([await still(5), await still(6)]).toEqual(['full', 'pixels']);
    await pipeline.close();
  });

  it('yields to a later wish, also while its networks are being opened', async () => {
    const pipeline = await open(await packed());
    const memory = pipeline.memoryBytes;
    await Promise.all([pipeline.setVariant?.('small'), pipeline.setVariant?.(null), pipeline.setVariant?.('small'), pipeline.setVariant?.(null)]);
    expect([pipeline.variant, pipeline.memoryBytes]).toEqual([null, memory]);
    await pipeline.setVariant?.('small');
    await Promise.all([pipeline.setVariant?.(null), pipeline.setVariant?.('small')]);
    expect(pipeline.variant).toBe('small');
    await expect(pipeline.setVariant?.('tiny')).rejects.toMatchObject({ code: 'E_OPTION', message: expect.stringContaining('small') as string });
    const closing = pipeline.setVariant?.(null);
    await pipeline.close();
    await closing?.catch((error: unknown) => expect(error).toMatchObject({ code: 'E_INPUT' }));
  });

  it('that cannot be opened changes nothing', async () => {
    const broken = await restated(await packed(), () => ({}), { 'variants/small/detector.onnx': detector.subarray(0, 40) });
    const pipeline = await open(broken);
    const memory = pipeline.memoryBytes;
    await expect(pipeline.setVariant?.('small')).rejects.toMatchObject({ code: expect.stringMatching(/^E_MODEL/) as string });
    expect([pipeline.variant, pipeline.memoryBytes]).toEqual([null, memory]);
    expect(await seen(pipeline, frames(2))).toHaveLength(2);
    await expect(selfTest(broken, { rounds: 0 })).rejects.toMatchObject({ code: expect.stringMatching(/^E_MODEL/) as string });
    await pipeline.close();
  });

  it('that is closed on the way is closed again', async () => {
    const pipeline = await open(await packed());
    const memory = pipeline.memoryBytes;
    const change = pipeline.setVariant?.('small');
    // The turn after this one opens the networks.
    await Promise.resolve();
    await pipeline.close();
    await change?.catch((error: unknown) => expect(error).toMatchObject({ code: 'E_INPUT' }));
    expect([pipeline.variant, pipeline.memoryBytes]).toEqual([null, memory]);
  });

  it('is covered by the self-test, with the memory that it takes', async () => {
    const good = await packed();
    const report = await selfTest(good, { rounds: 1 });
    expect(report).toMatchObject({ passed: true, golden: expect.arrayContaining([expect.objectContaining({ variant: 'small', stage: 'detector', output: 'boxes' })]) as unknown[] });
    const pipeline = await open(good);
    expect(report.memoryBytes).toBeGreaterThan(pipeline.memoryBytes);
    expect(await selfTest(good, { rounds: 1, pipeline })).toMatchObject({ passed: true, memoryBytes: report.memoryBytes });
    const wrong = await restated(good, () => ({}), { 'golden/small-detector-0-1.f32': new Uint8Array(16) });
    const failed = await selfTest(wrong, { rounds: 1 });
    expect(failed.passed).toBe(false);
    expect(failed.failures[0]).toMatch(/^variant small, detector boxes: cosine/);
    await pipeline.close();
  });

  interface Change { stages?: object; settings?: Record<string, unknown> & { detector?: object }; twice?: boolean; golden?: string }

  it.each<[string, Change, RegExp]>([
    ['a stage that it may not replace', { stages: { embedder: {} } }, /Expected stages of detector in the variant small but received/],
    ['a setting that it may not replace', { settings: { match_threshold: 0.2 } }, /Expected settings of detector, features, incremental in the variant small but received match_threshold/],
    ['a label of its own', { settings: { detector: { label: 'cat' } } }, /expected the label face/],
    ['settings that the kind refuses', { settings: { detector: { score_threshold: 7 } } }, /settings of a variant small are invalid: settings\.detector\.score_threshold/],
    ['the name of another', { twice: true }, /two variants of the name small/],
    ['golden vectors of another stage', { golden: 'embedder' }, /variant small has golden vectors for the embedder/],
  ])('is refused in a package with %s', async (_, change, message) => {
    const made = restated(await packed(), ({ pipeline, variants = [] }) => {
      const [variant] = variants;
      if (variant === undefined) throw new Error('no variant');
      const detectorSettings = { ...pipeline.settings['detector'] as object, ...change.settings?.detector };
      const settings = change.settings === undefined ? variant.settings : { ...change.settings, ...(change.settings.detector === undefined ? {} : { detector: detectorSettings }) };
      const stages = change.stages === undefined ? variant.stages : { ...variant.stages, embedder: pipeline.stages['embedder'] ?? variant.stages['detector'] };
      const golden = variant.golden.map((vector) => ({ ...vector, stage: change.golden ?? vector.stage }));
      const changed = { ...variant, stages, settings, golden } as typeof variant;
      return { variants: change.twice === true ? [variant, variant] : [changed] };
    });
    await expect(made).rejects.toMatchObject({ code: 'E_PACKAGE', message: expect.stringMatching(message) as string });
  });

  it('is shown by sterna inspect', async () => {
    const { variants } = await reportPackage(await packed());
    expect(variants).toMatchObject([{ name: 'small', load: 0.4, cost: 0.1, golden_vectors: 1, stages: { detector: { model: 'variants/small/detector.onnx', size: '32x24' } } }]);
    expect(variants[0]?.stages['detector']?.macs).toBeGreaterThan(0);
  });
});
