/** The process that adapts a package: a real one, with a package that was calibrated on pictures of another camera. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { configSchema } from '../../../agent/config/schema.js';
import type { AdaptCandidate } from '../../../agent/ground/adapt.js';
import { runtimePort } from '../../../agent/inference/runtime-port.js';
import type { Frame } from '../../../runtime/frame.js';
import { openGallery } from '../../../runtime/pipeline/index.js';
import { asImage, blobsBytes, picture, quantized } from '../../runtime/adapt/fixture.js';
import { nativeMissing } from '../../runtime/support/native.js';

const frameOf = (seed: number): Frame => ({ ...asImage(picture(seed, 1)), sequence: seed, capturedMs: seed * 100 });
/** The process has the lowest priority: while other tests keep every core busy, it gets next to nothing. */
const patienceMs = 600_000;
const limits = { timeoutMs: patienceMs, memoryBytes: 1 << 29 };

describe.skipIf(nativeMissing !== undefined)(`a process that adapts${nativeMissing === undefined ? '' : ` (${nativeMissing})`}`, () => {
  let folder = '';
  const at = (name: string): string => join(folder, name);
  const port = runtimePort({ ...configSchema.parse({ state_dir: tmpdir(), cache_dir: tmpdir() }), cache_max_bytes: 0 }, () => undefined);
  const opened = async (path: string): Promise<AdaptCandidate> => {
    const { openAdapt } = port;
    if (openAdapt === undefined) throw new Error('the port adapts nothing');
    return openAdapt(path, limits, new AbortController().signal);
  };
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sterna-adapting-'));
    const model = await quantized();
    await writeFile(at('blobs.sterna'), await blobsBytes(model));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('gathers, tunes, judges, and gives an overlay with which the package opens', async () => {
    const child = await opened(at('blobs.sterna'));
    expect(child.openedCpuMs).toBeGreaterThan(0);
    for (let i = 0; i < 30; i++) expect((await child.gather(frameOf(i))).cpuMs).toBeGreaterThanOrEqual(0);
    let tuned = null;
    for (let steps = 0; tuned === null && steps < 500; steps++) ({ tuned } = await child.step());
    expect(tuned).toMatchObject({ reason: null });
    expect(tuned?.gain).toBeGreaterThan(0.5);
    for (let i = 0; i < 5; i++) await child.judge(frameOf(100 + i));
    const { overlay, reason } = await child.verdict();
    expect(reason).toBeNull();
    child.close();
    const gallery = openGallery(':memory:');
    const model = await port.openModel(at('blobs.sterna'), gallery, {}, undefined, overlay ?? undefined);
    expect((await model.pipeline.process(frameOf(200))).findings).toHaveLength(1);
    await model.pipeline.close();
    await expect(port.openModel(at('blobs.sterna'), gallery, {}, undefined, Buffer.from('{}'))).rejects.toMatchObject({ code: 'E_ADAPT' });
    gallery.close();
  }, patienceMs);

  it('says what is wrong with a package, and can be ended at any time', async () => {
    await writeFile(at('broken.sterna'), 'no package');
    await expect(opened(at('broken.sterna'))).rejects.toMatchObject({ code: 'E_PACKAGE' });
    const child = await opened(at('blobs.sterna'));
    const gathered = child.gather(frameOf(1));
    child.close();
    await expect(gathered).rejects.toMatchObject({ code: 'E_OTA_GATE_KILLED' });
  }, patienceMs);
});
