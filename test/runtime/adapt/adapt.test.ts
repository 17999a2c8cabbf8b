/** Adaptation without labels: a model that was calibrated on pictures of little contrast meets pictures of full contrast. */
import { beforeAll, describe, expect, it } from 'vitest';
import { applyThresholds, type Threshold } from '../../../runtime/adapt/apply.js';
import { FindingsJudge } from '../../../runtime/adapt/findings-judge.js';
import { overlayHash, parseOverlay, withOverlay, writeOverlay } from '../../../runtime/adapt/overlay.js';
import { PackageAdapter, type PackageAdaptation } from '../../../runtime/adapt/package-adapter.js';
import { adaptThresholds, type AdaptStep } from '../../../runtime/adapt/tune.js';
import { createPipeline } from '../../../runtime/pipeline/create.js';
import type { ModelPackage } from '../../../runtime/package/package.js';
import { nativeMissing } from '../support/native.js';
import { asImage, blobs, feeds, float, outputsOf, picture, quantized } from './fixture.js';

/** Energy of the differences between rows, over that of the wanted rows without their mean. */
function errorOf(wanted: readonly number[][], got: readonly number[][]): number {
  const means = (wanted[0] ?? []).map((_, j) => wanted.reduce((sum, row) => sum + (row[j] ?? 0), 0) / wanted.length);
  const sum = (of: (i: number, j: number) => number): number => wanted.reduce((total, row, i) => total + row.reduce((part, _, j) => part + of(i, j) ** 2, 0), 0);
  return sum((i, j) => (wanted[i]?.[j] ?? 0) - (got[i]?.[j] ?? 0)) / sum((i, j) => (wanted[i]?.[j] ?? 0) - (means[j] ?? 0));
}

describe.skipIf(nativeMissing !== undefined)(`adaptation${nativeMissing === undefined ? '' : ` (${nativeMissing})`}`, () => {
  let model: Uint8Array;
  let stored: ModelPackage;
  beforeAll(async () => {
    model = await quantized();
    stored = await blobs(model);
  });

  async function adapted(modelPackage: ModelPackage, contrast = 1): Promise<PackageAdaptation> {
    const adapter = await PackageAdapter.open(modelPackage);
    for (let i = 0; i < 40; i++) await adapter.gather(asImage(picture(i, contrast)));
    const steps = adapter.adapt();
    for (;;) {
      const { done, value } = await steps.next();
      if (done === true) return value;
    }
  }

  it('wins back at least half of the loss, judged by the float model on pictures that it has not seen', async () => {
    const steps: AdaptStep[] = [];
    const { thresholds, report } = await adaptThresholds(model, feeds(30, 1), { onStep: (step) => steps.push(step) });
    expect(report).toMatchObject({ kept: true, tuned_samples: 20, judged_samples: 10, moved: thresholds.length });
    const unseen = feeds(30, 1, 100);
    const wanted = await outputsOf(float, unseen);
    const [before, after] = [errorOf(wanted, await outputsOf(model, unseen)), errorOf(wanted, await outputsOf(applyThresholds(model, thresholds), unseen))];
    expect(after).toBeLessThan(before / 2);
    expect(new Set(steps.map(({ phase }) => phase))).toEqual(new Set(['observe', 'try', 'judge']));
  });

  it('leaves a model alone that was calibrated on such pictures', async () => {
    const own = await quantized(1);
    const { thresholds, report } = await adaptThresholds(own, feeds(30, 1));
    expect(report).toMatchObject({ kept: false, moved: 0 });
    expect(thresholds).toEqual([]);
  });

  it('is the same every time', async () => {
    const [a, b] = [await adaptThresholds(model, feeds(12, 1)), await adaptThresholds(model, feeds(12, 1))];
    expect(a).toEqual(b);
  });

  it('needs ten samples, and samples that differ', async () => {
    await expect(adaptThresholds(model, feeds(9, 1))).rejects.toMatchObject({ code: 'E_ADAPT' });
    const [one = {}] = feeds(1, 1);
    await expect(adaptThresholds(model, Array.from({ length: 12 }, () => one))).rejects.toMatchObject({ code: 'E_ADAPT' });
  });

  it('of a package makes an overlay, with which the package runs and without which it is as before', async () => {
    const { models, reason, stages } = await adapted(stored);
    expect(reason).toBeNull();
    expect(stages).toMatchObject([{ stage: 'classifier', reason: null, report: { kept: true } }]);
    const overlay = writeOverlay(stored, models);
    expect(overlayHash(writeOverlay(stored, models))).toBe(overlayHash(overlay));
    const pipeline = await createPipeline(withOverlay(stored, overlay));
    await pipeline.close();
    expect(withOverlay(stored, overlay).file('models/classifier.onnx')).toEqual(applyThresholds(model, [...models.values()][0] ?? []));
    expect(stored.file('models/classifier.onnx')).toEqual(model);
  });

  it('is refused when golden vectors do not hold', async () => {
    const { models, reason } = await adapted(await blobs(model, 1e-9));
    expect(models.size).toBe(0);
    expect(reason).toMatch(/^golden vectors of the package do not hold: classifier y/);
  });

  it('is judged by what is found with unrounded activations', async () => {
    const { models } = await adapted(stored);
    const judge = await FindingsJudge.open(stored, models);
    const bad = await FindingsJudge.open(stored, new Map([['models/classifier.onnx', [...models.values()].flat().map(({ value }): Threshold => ({ value, factor: 0.5, shift: 0 }))]]));
    for (let i = 0; i < 40; i++) {
      const frame = { ...asImage(picture(200 + i, 1)), sequence: i, capturedMs: i * 100 };
      await judge.add(frame);
      await bad.add(frame);
    }
    expect(judge.verdict()).toMatchObject({ frames: 40, broken: null, before: { boxes: null, identities: null } });
    expect(judge.verdict().after.classes).toBeGreaterThanOrEqual((judge.verdict().before.classes ?? 0) - 0.02);
    expect(bad.verdict().after.classes).toBeLessThan(judge.verdict().after.classes ?? 0);
    await judge.close();
    await bad.close();
  });
});

describe.skipIf(nativeMissing !== undefined)('an overlay', () => {
  let stored: ModelPackage;
  let overlay: Uint8Array;
  beforeAll(async () => {
    stored = await blobs(await quantized());
    overlay = writeOverlay(stored, new Map([['models/classifier.onnx', [{ value: 'x', factor: 1.5, shift: 2 }]]]));
  });
  const changed = (change: (overlay: ReturnType<typeof parseOverlay>) => object): Uint8Array => Buffer.from(JSON.stringify({ ...parseOverlay(overlay), ...change(parseOverlay(overlay)) }));
  const refused = (bytes: Uint8Array): void => expect(() => withOverlay(stored, bytes)).toThrow(expect.objectContaining({ code: 'E_ADAPT' }));

  it('belongs to one package and to its models', () => {
    expect(withOverlay(stored, overlay).file('models/classifier.onnx')).not.toEqual(stored.file('models/classifier.onnx'));
    refused(changed(() => ({ package: '0'.repeat(64) })));
    refused(changed(({ models }) => ({ models: models.map((model) => ({ ...model, sha256: '0'.repeat(64) })) })));
    refused(changed(({ models }) => ({ models: models.map((model) => ({ ...model, path: 'golden/0.u8' })) })));
    refused(changed(({ models }) => ({ models: [...models, ...models] })));
  });

  it('is refused when it is damaged, unknown, too large or out of bounds', () => {
    refused(overlay.subarray(0, overlay.length - 5));
    refused(Buffer.from('null'));
    refused(changed(() => ({ overlay: 2 })));
    refused(changed(() => ({ more: 1 })));
    refused(new Uint8Array((1 << 20) + 1));
    for (const threshold of [{ value: 'x', factor: 3, shift: 0 }, { value: 'x', factor: 1, shift: 300 }, { value: 'nobody', factor: 1, shift: 0 }]) refused(changed(({ models }) => ({ models: models.map((model) => ({ ...model, thresholds: [threshold] })) })));
  });
});
