import { afterEach, describe, expect, it } from 'vitest';
import { openGallery } from '../../../runtime/pipeline/gallery.js';
import { detectionsOf } from '../../../runtime/stages/finding.js';
import { normalize } from '../../../runtime/vision/embedding.js';
import { fakePipeline, frameOf, settings } from './fakes.js';
import type { FakeFace } from './fakes.js';

const face: FakeFace = { box: [0.25, 0.25, 0.75, 0.75], score: 0.875 };
const open: { close(): unknown }[] = [];
afterEach(async () => { for (const it of open.splice(0)) await it.close(); });

function setUp(options: Parameters<typeof fakePipeline>[0]) {
  const parts = fakePipeline(options);
  open.push(parts.pipeline);
  return parts;
}

function gallery() {
  const opened = openGallery(':memory:');
  open.push(opened);
  return opened;
}

const colour = (r: number, g: number, b: number): Float32Array => normalize(Float32Array.from([r, g, b, 0])) ?? new Float32Array(4);

describe('a face-recognition pipeline', () => {
  it('runs every stage of a frame with a face, and times each', async () => {
    const people = gallery();
    people.enrol('Red', [colour(200, 10, 10)], 'colours');
    const { pipeline } = setUp({ faces: [face], gallery: people });
    const result = await pipeline.process(frameOf([200, 10, 10], { sequence: 7, capturedMs: 123 }));
    expect(result).toMatchObject({ sequence: 7, capturedMs: 123, exit: 'full' });
    expect(result.stages.map(({ stage }) => stage)).toEqual(['motion', 'letterbox', 'detect', 'decode_boxes', 'nms', 'track', 'landmarks', 'align', 'embed', 'match']);
    expect(result.stages.every(({ ms }) => ms >= 0)).toBe(true);
    expect(result.stages.reduce((sum, { ms }) => sum + ms, 0)).toBeLessThanOrEqual(result.totalMs);
    const [found] = detectionsOf(result.findings);
    expect(found).toMatchObject({ box: [16, 16, 32, 32], score: 0.875, label: 'face', identity: { name: 'Red' } });
    expect(found?.identity?.similarity).toBeGreaterThan(0.99);
  });

  it('puts the landmarks into the frame', async () => {
    const { pipeline } = setUp({ faces: [face] });
    const detections = detectionsOf((await pipeline.process(frameOf([9, 9, 9], { width: 128, height: 64 }))).findings);
    // 128 x 64 letterboxed into 32 x 32: 4 pixels a pixel, 8 rows of padding; the box is 64 x 64 at (32, 0).
    expect(detections[0]?.box).toEqual([32, 0, 64, 64]);
    const [leftEye, , nose] = detections[0]?.landmarks ?? [];
    expect(leftEye?.[0]).toBeCloseTo(32 + 0.34 * 64, 3);
    expect(leftEye?.[1]).toBeCloseTo(0.46 * 64, 3);
    expect(nose?.[0]).toBeCloseTo(64, 3);
  });

  it('spends no work on faces that do not count', async () => {
    const people = gallery();
    people.enrol('Red', [colour(200, 10, 10)], 'colours');
    const { pipeline, embedder } = setUp({ faces: [face], gallery: people });
    pipeline.setRules?.({ zones: [{ name: 'window', kind: 'exclude', points: [[0.4, 0.4], [0.6, 0.4], [0.6, 0.6], [0.4, 0.6]] }] });
    const result = await pipeline.process(frameOf([200, 10, 10]));
    expect(result.findings).toEqual([]);
    expect(embedder.runs).toBe(0);
    expect(result.stages.map(({ stage }) => stage)).not.toContain('landmarks');
    // Enrollment looks at a picture, not at a camera with zones.
    expect(await pipeline.embed(frameOf([200, 10, 10]))).toHaveLength(1);
  });

  it('says null for a stranger, and nothing when faces are not embedded', async () => {
    const people = gallery();
    people.enrol('Red', [colour(200, 10, 10)], 'colours');
    const withGallery = setUp({ faces: [face], gallery: people });
    expect((await withGallery.pipeline.process(frameOf([5, 5, 250]))).findings[0]).toHaveProperty('identity', null);
    const without = setUp({ faces: [face] });
    expect((await without.pipeline.process(frameOf([5, 5, 250]))).findings[0]).not.toHaveProperty('identity');
    expect(without.embedder.runs).toBe(0);
    const small = setUp({ faces: [{ ...face, box: [0, 0, 0.1, 0.1] }], gallery: people });
    expect((await small.pipeline.process(frameOf([5, 5, 250]))).findings[0]).not.toHaveProperty('identity');
  });

  it('drops weak and overlapping boxes', async () => {
    const faces = [face, { box: [0.26, 0.25, 0.76, 0.75], score: 0.75 }, { box: [0.8, 0.8, 1, 1], score: 0.25 }, { box: [0, 0, 0.2, 0.2], score: 0.625 }];
    const { pipeline, landmarks } = setUp({ faces });
    const { findings } = await pipeline.process(frameOf([1, 2, 3]));
    expect(findings.map(({ score }) => score)).toEqual([0.875, 0.625]);
    expect(landmarks.runs).toBe(2);
  });

  it('stops at the motion gate when nothing moves, and goes on while a face is there', async () => {
    const faces: FakeFace[] = [];
    const { pipeline, detector } = setUp({ faces });
    const at = (capturedMs: number, level = 50) => pipeline.process(frameOf([level, level, level], { capturedMs }));
    const first = await at(0);
    expect(first.exit).toBe('full');
    const { width = 0, height = 0, bits = new Uint8Array(0) } = first.cells ?? {};
    expect(bits.reduce((sum, byte) => sum + byte.toString(2).replaceAll('0', '').length, 0)).toBe(width * height);
    const still = await at(1000);
    expect(still).toMatchObject({ exit: 'pixels', findings: [], audit: false });
    expect(still.cells?.bits.every((byte) => byte === 0)).toBe(true);
    expect(still.stages.map(({ stage }) => stage)).toEqual(['motion']);
    expect(detector.runs).toBe(1);
    faces.push(face);
    expect((await at(2000, 200)).exit).toBe('full');
    expect((await at(2090, 200)).exit).toBe('full');
    expect((await at(2180, 200)).exit).toBe('full');
    faces.pop();
    expect((await at(2270, 200)).exit).toBe('full');
    expect((await at(2400, 200)).exit).toBe('pixels');
  });

  it('goes by the time of a recording, not by how fast it is read', async () => {
    const { pipeline } = setUp({ faces: [] });
    const at = (mediaMs: number) => pipeline.process({ ...frameOf([50, 50, 50], { capturedMs: 7 }), mediaMs });
    expect((await at(0)).exit).toBe('full');
    expect((await at(100)).exit).toBe('full');
    expect((await at(101)).exit).toBe('pixels');
  });

  it('reports the decode time of its source', async () => {
    const { pipeline } = setUp({ faces: [] });
    const { stages } = await pipeline.process({ ...frameOf([1, 1, 1]), decodeMs: 4.5 });
    expect(stages[0]).toEqual({ stage: 'decode', ms: 4.5 });
  });

  it('embeds all faces of a picture, largest first, without a gallery', async () => {
    const { pipeline } = setUp({ faces: [{ box: [0, 0, 0.3, 0.3], score: 0.875 }, { box: [0.4, 0.4, 1, 1], score: 0.75 }] });
    const faces = await pipeline.embed(frameOf([30, 60, 90]));
    expect(faces.map(({ detection }) => detection.score)).toEqual([0.75, 0.875]);
    for (const { embedding } of faces) expect(Math.hypot(...embedding)).toBeCloseTo(1, 5);
  });

  it('takes frames and enrolments in turn, though they share canvases', async () => {
    const { pipeline } = setUp({ faces: [face] });
    const colours = [[255, 0, 0], [0, 255, 0], [0, 0, 255]] as const;
    const results = await Promise.all(colours.map((value) => pipeline.embed(frameOf(value))));
    const strongest = results.map(([first]) => first?.embedding.indexOf(Math.max(...(first.embedding))));
    expect(strongest).toEqual([0, 1, 2]);
  });

  it('uses the points of a detector that has them', async () => {
    const { pipeline, landmarks } = setUp({
      faces: [],
      change: { landmarks: null, detector: { ...settings.detector, decoder: { type: 'yunet', strides: [32] } } },
    });
    // The fake detector has no such heads: the error names the first one that is missing.
    await expect(pipeline.process(frameOf([1, 1, 1]))).rejects.toMatchObject({ code: 'E_MODEL_SHAPE', message: expect.stringContaining('cls_32') as string });
    expect(landmarks.runs).toBe(0);
  });

  it('goes on after a frame that failed', async () => {
    const faces: FakeFace[] = [face];
    const { pipeline } = setUp({ faces });
    await expect(pipeline.process({ ...frameOf([1, 1, 1]), get width(): number { throw new Error('bad frame'); } })).rejects.toThrow('bad frame');
    expect((await pipeline.process(frameOf([1, 1, 1]))).findings).toHaveLength(1);
  });

  it('states its memory, closes its models once, and refuses frames afterwards', async () => {
    const { pipeline, detector, landmarks, embedder } = setUp({ faces: [] });
    expect(pipeline.memoryBytes).toBe(6000);
    const running = pipeline.process(frameOf([1, 1, 1]));
    await pipeline.close();
    await pipeline.close();
    await expect(running).resolves.toMatchObject({ exit: 'full' });
    expect([detector.closed, landmarks.closed, embedder.closed]).toEqual([true, true, true]);
    await expect(pipeline.process(frameOf([1, 1, 1]))).rejects.toMatchObject({ code: 'E_INPUT' });
  });

  it('embeds a track when it is new, and then when it is due, and goes by the mean', async () => {
    const people = gallery();
    people.enrol('Red', [colour(200, 10, 10)], 'colours');
    const { pipeline, embedder } = setUp({ faces: [face], gallery: people, change: { motion: { ...settings.motion, enabled: false } } });
    const at = async (capturedMs: number, level: readonly [number, number, number] = [200, 10, 10]) => (await pipeline.process(frameOf(level, { capturedMs }))).findings[0];
    for (let ms = 0; ms < 1000; ms += 40) await at(ms);
    // Three sights of a new track; the last of them at 80 ms, so the next is due at 1080 ms.
    expect(embedder.runs).toBe(3);
    expect(await at(1040)).toMatchObject({ type: 'track', track: 1, identity: { name: 'Red' } });
    expect(embedder.runs).toBe(3);
    await at(1080);
    expect(embedder.runs).toBe(4);
    // Who is removed from the gallery is not named any longer than a look takes to be due.
    people.remove(1);
    expect(await at(2200)).toMatchObject({ type: 'track', track: 1, identity: null });
  });

  it('takes one bad embedding for bad, and two for somebody else', async () => {
    const people = gallery();
    people.enrol('Red', [colour(200, 10, 10)], 'colours');
    people.enrol('Blue', [colour(5, 5, 250)], 'colours');
    const { pipeline } = setUp({ faces: [face], gallery: people, change: { motion: { ...settings.motion, enabled: false } } });
    const at = async (capturedMs: number, level: readonly [number, number, number]) => (await pipeline.process(frameOf(level, { capturedMs }))).findings[0];
    for (const ms of [0, 40, 80]) await at(ms, [200, 10, 10]);
    expect(await at(1100, [5, 5, 250])).toMatchObject({ track: 1, identity: { name: 'Red' } });
    expect(await at(1140, [5, 5, 250])).toMatchObject({ track: 1, identity: { name: 'Blue' } });
  });

  it('keeps who stands still while the gate is closed', async () => {
    const people = gallery();
    people.enrol('Red', [colour(200, 10, 10)], 'colours');
    const { pipeline, detector } = setUp({ faces: [face], gallery: people });
    const at = (capturedMs: number, red = 200) => pipeline.process(frameOf([red, 10, 10], { capturedMs }));
    await at(0, 100);
    await at(40);
    const runs = detector.runs;
    expect(await at(5000)).toMatchObject({ exit: 'pixels', findings: [{ type: 'track', track: 1, status: 'held', identity: { name: 'Red' } }] });
    expect(detector.runs).toBe(runs);
  });
});
