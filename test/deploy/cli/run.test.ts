import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { FrameLine, RunSummary } from '../../../deploy/run/run.js';
import { openPackage } from '../../../runtime/package/index.js';
import { createGalleryKey, galleryKeyId, openGallery, readGalleryKey } from '../../../runtime/pipeline/index.js';
import { deepEmbedder, tinyModels } from '../package/tiny-models.js';
import { captureCli } from './capture.js';

const folder = mkdtempSync(join(tmpdir(), 'sterna-run-'));
const at = (name: string): string => join(folder, name);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const colours = { red: [220, 30, 30], green: [30, 220, 30], blue: [30, 30, 220] } as const;

async function picture(path: string, [r, g, b]: readonly [number, number, number]): Promise<void> {
  await sharp({ create: { width: 160, height: 120, channels: 3, background: { r, g, b } } }).png().toFile(path);
}

const packageArguments = (output: string, ...more: string[]): string[] => [
  'package', '--detector', at('detector.onnx'), '--landmarks', at('landmarks.onnx'), '--embedder', at('embedder.onnx'),
  '--name', 'tiny', '--package-version', '1.0.0', '-o', output, ...more,
];

function lines(out: string): { frames: FrameLine[]; summary: RunSummary } {
  const parsed = out.trim().split('\n').map((line) => JSON.parse(line) as FrameLine | RunSummary);
  const summary = parsed.pop();
  if (summary?.type !== 'summary') throw new Error(`no summary in ${out}`);
  return { frames: parsed.filter((line): line is FrameLine => line.type === 'frame'), summary };
}

beforeAll(async () => {
  for (const [name, bytes] of Object.entries(tinyModels())) writeFileSync(at(`${name}.onnx`), bytes);
  mkdirSync(at('scene'));
  await picture(at('scene/1.png'), colours.red);
  await picture(at('scene/2.png'), colours.green);
  await picture(at('scene/3.png'), colours.red);
  await picture(at('blue.png'), colours.blue);
  expect(await captureCli(packageArguments(at('tiny.sterna')))).toMatchObject({ code: 0 });
});

describe('sterna package', () => {
  it('writes a package that opens, and reports its hash and self-test', async () => {
    const { code, out } = await captureCli(packageArguments(at('other.sterna'), '--release-counter', '7', '--embedding-space', 'tiny-1', '--p99-budget', '500', '--json'));
    expect(code).toBe(0);
    const report = JSON.parse(out) as { sha256: string; bytes: number; self_test: { passed: boolean } };
    const opened = await openPackage(at('other.sterna'));
    expect(report).toMatchObject({ sha256: opened.sha256, bytes: opened.bytes, self_test: { passed: true } });
    expect(opened.manifest).toMatchObject({ name: 'tiny', version: '1.0.0', release_counter: 7, embedding_space_id: 'tiny-1', budget: { p99_ms: 500 } });
  });

  it('exits with 1 when the self-test fails', async () => {
    const { code, out } = await captureCli(packageArguments(at('slow.sterna'), '--p99-budget', '0.000001', '--json'));
    expect([code, JSON.parse(out)]).toMatchObject([1, { self_test: { passed: false } }]);
  });

  it('takes settings from a file, and golden vectors from pictures', async () => {
    writeFileSync(at('settings.json'), JSON.stringify({ settings: { match_threshold: 0.9, motion: { enabled: false } } }));
    const { code } = await captureCli(packageArguments(at('set.sterna'), '--settings', at('settings.json'), '--golden', at('scene')));
    expect(code).toBe(0);
    const { manifest } = await openPackage(at('set.sterna'));
    expect(manifest.pipeline).toMatchObject({ settings: { match_threshold: 0.9, motion: { enabled: false } } });
    expect(manifest.golden.filter(({ stage }) => stage === 'embedder')).toHaveLength(2);
  });

  it('quantizes detector and embedder on pictures, to int8 or the format asked for', async () => {
    writeFileSync(at('deep.onnx'), deepEmbedder());
    const levels: boolean[] = [];
    for (const format of [[], ['--format', 'w46', '--max-drop', '0.5']]) {
      const { code, out } = await captureCli(packageArguments(at('low.sterna'), '--embedder', at('deep.onnx'), '--calibrate', at('scene'), ...format, '--json'));
      expect(code).toBe(0);
      const share = format.length === 0 ? 0 : 256 / 368;
      expect(JSON.parse(out)).toMatchObject({ quantized: { detector: { low_bit_macs: 0 }, embedder: { low_bit_macs: share } }, self_test: { passed: true } });
      const opened = await openPackage(at('low.sterna'));
      expect(opened.manifest.calibration).toMatchObject([{ stage: 'detector', images: 3 }, { stage: 'embedder', images: 3 }]);
      levels.push(Buffer.from(opened.file('models/embedder.onnx')).includes('sterna.levels'));
    }
    expect(levels).toEqual([false, true]);
    const { out } = await captureCli(packageArguments(at('low.sterna'), '--embedder', at('deep.onnx'), '--calibrate', at('scene'), '--stages', 'embedder', '--json'));
    expect(Object.keys((JSON.parse(out) as { quantized: object }).quantized)).toEqual(['embedder']);
  });

  it('says what is wrong', async () => {
    writeFileSync(at('bad.json'), '{"settings": {"match_threshold": 3}}');
    const failing = async (...more: string[]) => JSON.parse((await captureCli([...packageArguments(at('x.sterna'), ...more), '--json'])).out) as { error: { code: string; message: string } };
    expect((await failing('--settings', at('bad.json'))).error).toMatchObject({ code: 'E_USAGE', message: expect.stringContaining('match_threshold') as string });
    expect((await failing('--format', 'w46')).error).toMatchObject({ code: 'E_USAGE', message: expect.stringContaining('--calibrate') as string });
    expect((await failing('--package-version', 'one')).error).toMatchObject({ code: 'E_PACKAGE', message: expect.stringContaining('version') as string });
    expect((await failing('--detector', at('nothing.onnx'))).error).toMatchObject({ code: 'E_FILE' });
    expect((await failing('--detector', at('blue.png'))).error).toMatchObject({ code: 'E_MODEL_MALFORMED' });
  });
});

describe('sterna run', () => {
  it('prints a line a frame and a summary with the histograms of the stages', async () => {
    const { code, out } = await captureCli(['run', at('tiny.sterna'), '--input', at('scene'), '--no-motion']);
    expect(code).toBe(0);
    const { frames, summary } = lines(out);
    expect(frames.map(({ sequence, exit, findings }) => [sequence, exit, findings.length])).toEqual([[0, 'full', 1], [1, 'full', 1], [2, 'full', 1]]);
    expect(frames[0]?.findings[0]).toMatchObject({ label: 'face', name: null });
    expect(summary).toMatchObject({ frames: 3, dropped: 0, findings: 3, exits: { full: 3 }, recognized: {}, total: { count: 3 } });
    expect(summary.stages.map(({ stage }) => stage)).toEqual(['decode', 'letterbox', 'detect', 'decode_boxes', 'nms', 'landmarks', 'align', 'embed', 'match']);
    for (const { p50_ms, p99_ms, max_ms, count } of summary.stages) {
      expect(count).toBe(3);
      expect(p50_ms).toBeLessThanOrEqual(p99_ms);
      expect(p99_ms).toBeLessThanOrEqual(max_ms);
    }
  });

  it('recognizes who was enrolled, and keeps the gallery in its file', async () => {
    const gallery = at('people.db');
    const { out, err } = await captureCli(['run', at('tiny.sterna'), '--input', at('scene'), '--gallery', gallery, '--no-motion', '--enrol', `Red=${at('scene/1.png')}`, '--enrol', `Blue=${at('blue.png')}`]);
    expect(err).toContain('enrolled Red: 1 samples from 1 pictures');
    const { frames } = lines(out);
    expect(frames.map(({ findings }) => findings[0]?.name)).toEqual(['Red', null, 'Red']);
    expect(frames[0]?.findings[0]?.similarity).toBeGreaterThan(0.99);
    const people = openGallery(gallery);
    expect(people.list().map(({ name }) => name)).toEqual(['Red', 'Blue']);
    people.close();
  });

  it('encrypts the gallery with a key, and needs that key afterwards', async () => {
    const [gallery, key] = [at('sealed.db'), at('gallery.key')];
    createGalleryKey(key);
    const run = (...more: string[]) => captureCli(['run', at('tiny.sterna'), '--input', at('scene'), '--gallery', gallery, '--no-motion', ...more]);
    expect((await run('--key-file', key, '--enrol', `Red=${at('scene/1.png')}`)).code).toBe(0);
    expect(galleryKeyId(gallery)).toBe(readGalleryKey(key).id);
    expect(lines((await run('--key-file', key)).out).frames.map(({ findings }) => findings[0]?.name)).toEqual(['Red', null, 'Red']);
    expect(await run()).toMatchObject({ code: 3, err: expect.stringContaining('E_GALLERY_KEY') as string });
  });

  it('stops at the limit, and at the motion gate', async () => {
    expect(lines((await captureCli(['run', at('tiny.sterna'), '--input', at('scene'), '--limit', '2'])).out).frames).toHaveLength(2);
    writeFileSync(at('blind.json'), JSON.stringify({ models: { detector: 'detector.onnx', landmarks: 'landmarks.onnx', embedder: 'embedder.onnx' }, pipeline: { settings: { detector: { score_threshold: 0.95 }, motion: { hold_ms: 0 } } } }));
    const still = lines((await captureCli(['run', at('blind.json'), '--input', at('blue.png'), '--loop', '--limit', '3', '--json'])).out);
    expect(still.summary.exits).toEqual({ full: 1, pixels: 2 });
  });

  it('prints frames with a face only, on request', async () => {
    const { frames, summary } = lines((await captureCli(['run', at('blind.json'), '--input', at('scene'), '--events'])).out);
    expect(frames).toEqual([]);
    expect(summary.frames).toBe(3);
  });

  it('gives codes for what cannot be', async () => {
    writeFileSync(at('cut.sterna'), Buffer.alloc(700, 1));
    writeFileSync(at('no.json'), '{"detector": 1}');
    const failing = async (...argv: string[]) => {
      const { code, out } = await captureCli(['run', ...argv, '--json']);
      return [code, (JSON.parse(out) as { error: { code: string } }).error.code];
    };
    expect(await failing(at('cut.sterna'), '--input', at('scene'))).toEqual([3, 'E_PACKAGE']);
    expect(await failing(at('no.json'), '--input', at('scene'))).toEqual([2, 'E_USAGE']);
    expect(await failing(at('tiny.sterna'), '--input', at('nowhere'))).toEqual([3, 'E_MEDIA']);
    expect(await failing(at('tiny.sterna'))).toEqual([2, 'E_USAGE']);
    expect(await failing(at('tiny.sterna'), '--input', at('scene'), '--enrol', 'Red')).toEqual([2, 'E_USAGE']);
  });
});
