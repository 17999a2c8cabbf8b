/** `sterna adapt`: a package gets an overlay that `run` uses, a model is written anew, and what gains nothing is not written. */
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { overlayHash, parseOverlay, withOverlay } from '../../../runtime/adapt/overlay.js';
import { openPackage } from '../../../runtime/package/index.js';
import { blobsBytes, picture, quantized, side } from '../../runtime/adapt/fixture.js';
import { nativeMissing } from '../../runtime/support/native.js';
import { captureCli } from './capture.js';

describe.skipIf(nativeMissing !== undefined)(`sterna adapt${nativeMissing === undefined ? '' : ` (${nativeMissing})`}`, () => {
  let folder = '';
  const at = (name: string): string => join(folder, name);
  const footage = async (name: string, contrast: number, count = 48): Promise<void> => {
    await mkdir(at(name));
    for (let i = 0; i < count; i++) await sharp(Buffer.from(picture(i, contrast)), { raw: { width: side, height: side, channels: 3 } }).png().toFile(join(at(name), `${String(i).padStart(3, '0')}.png`));
  };
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sterna-adapt-'));
    const model = await quantized();
    await writeFile(at('blobs.onnx'), model);
    await writeFile(at('blobs.sterna'), await blobsBytes(model));
    await writeFile(at('strict.sterna'), await blobsBytes(model, 1e-9));
    await footage('bright', 1);
    await footage('few', 1, 6);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));
  const classification = ['--kind', 'classification', '--mean', '127.5', '--std', '127.5', '--fit', 'stretch', '--channels', 'rgb'];

  it('writes an overlay of a package, with which it runs', async () => {
    const { code, out } = await captureCli(['adapt', at('blobs.sterna'), '--input', at('bright'), '-o', at('blobs.overlay'), '--json']);
    const bytes = await readFile(at('blobs.overlay'));
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ adapted: true, reason: null, frames: 48, sha256: overlayHash(bytes), stages: [{ stage: 'classifier', report: { kept: true } }], findings: { frames: 12, broken: null } });
    expect(parseOverlay(bytes).models).toHaveLength(1);
    expect(() => parseOverlay(bytes.subarray(1))).toThrow();
    expect(withOverlay(await openPackage(at('blobs.sterna')), bytes).manifest.name).toBe('blobs');
    const ran = await captureCli(['run', at('blobs.sterna'), '--input', at('few'), '--overlay', at('blobs.overlay')]);
    expect(ran.code).toBe(0);
    const other = await captureCli(['run', at('strict.sterna'), '--input', at('few'), '--overlay', at('blobs.overlay')]);
    expect(other.code).not.toBe(0);
    expect(other.err).toContain('E_ADAPT');
  });

  it('writes an adapted model', async () => {
    const { code, out } = await captureCli(['adapt', at('blobs.onnx'), '--input', at('bright'), '-o', at('adapted.onnx'), ...classification]);
    expect(out).toMatch(/classifier .* % won back/);
    expect(code).toBe(0);
    expect(await readFile(at('adapted.onnx'))).not.toEqual(await readFile(at('blobs.onnx')));
  });

  it('writes nothing when golden vectors do not hold, or pictures are too few, and says so', async () => {
    for (const [path, input, why] of [['strict.sterna', 'bright', 'golden vectors'], ['blobs.sterna', 'few', 'which is too little']] as const) {
      const { code, out } = await captureCli(['adapt', at(path), '--input', at(input), '-o', at('none')]);
      expect(code).toBe(1);
      expect(out).toContain(why);
      expect(out).toContain('NOT ADAPTED');
      await expect(stat(at('none'))).rejects.toMatchObject({ code: 'ENOENT' });
    }
  });

  it('takes packages and models only', async () => {
    const { code, err } = await captureCli(['adapt', at('bright'), '--input', at('bright'), '-o', at('none')]);
    expect([code, err]).toEqual([2, expect.stringContaining('E_USAGE')]);
  });
});
