import { readdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../../agent/config/load.js';
import { CandidateError } from '../../../agent/ground/runtime.js';
import { runtimePort } from '../../../agent/inference/runtime-port.js';
import { buildPipelinePackage } from '../../../deploy/package/build.js';
import { tinyEars, tinyEarsSettings, tones } from '../../support/tiny-ears.js';
import { tinyModels } from '../../deploy/package/tiny-models.js';
import { nativeMissing } from '../../runtime/support/native.js';
import { temporaryFolder } from '../support/tools.js';

const skipped = nativeMissing === undefined ? '' : ` (${nativeMissing})`;

describe.skipIf(nativeMissing !== undefined)(`the runtime as the daemon uses it${skipped}`, () => {
  it('keeps compiled programs in the cache folder, and raises a warning when one is damaged', async () => {
    const folder = temporaryFolder();
    const path = join(folder, 'faces.sterna');
    writeFileSync(path, (await buildPipelinePackage('face-recognition', tinyModels(), { name: 'faces', version: '1.0.0', embeddingSpaceId: 'colours' })).bytes);
    const config = parseConfig({ state_dir: join(folder, 'state') });
    const warnings: string[] = [];
    const runtime = runtimePort(config, ({ code }) => warnings.push(code));
    const gallery = runtime.openGallery(':memory:', { file: join(temporaryFolder(), 'gallery.key'), create: true });
    const check = async () => {
      const model = await runtime.openModel(path, gallery, {});
      const { golden } = await model.selfTest();
      await model.pipeline.close();
      return golden.length > 0 && golden.every(({ passed }) => passed);
    };
    expect(await check()).toBe(true);
    const programs = readdirSync(config.cache_dir);
    expect(programs).toHaveLength(3); // detector, landmarks, embedder
    expect(await check()).toBe(true);
    expect(readdirSync(config.cache_dir)).toEqual(programs);
    expect(warnings).toEqual([]);
    truncateSync(join(config.cache_dir, programs[1] ?? ''), 100);
    expect(await check()).toBe(true);
    expect(warnings).toEqual(['E_CACHE_DAMAGED']);
    expect(await check()).toBe(true);
    expect(warnings).toHaveLength(1);
    gallery.close();
  });

  it('tests a candidate in a process of its own, which leaves its compiled programs for the daemon', async () => {
    const folder = temporaryFolder();
    const path = join(folder, 'faces.sterna');
    writeFileSync(path, (await buildPipelinePackage('face-recognition', tinyModels(), { name: 'faces', version: '1.0.0', embeddingSpaceId: 'colours' })).bytes);
    const config = parseConfig({ state_dir: join(folder, 'state') });
    const runtime = runtimePort(config, () => undefined);
    const limits = { timeoutMs: config.ota.warm_timeout_ms, memoryBytes: config.ota.warm_memory_bytes };
    const { signal } = new AbortController();
    const report = await runtime.testCandidate(path, limits, signal);
    expect(report).toMatchObject({ name: 'faces', version: '1.0.0' });
    expect(report.energy?.joules ?? 0).toBeGreaterThanOrEqual(0);
    expect(report.energy?.source).toMatch(/./); // with no sensor, the model of CPU time
    expect(report.golden.length).toBeGreaterThan(0);
    expect(report.golden.every(({ passed }) => passed)).toBe(true);
    expect(readdirSync(config.cache_dir)).toHaveLength(3);
    await expect(runtime.describePackage(path)).resolves.toEqual({ name: 'faces', version: '1.0.0' });
    truncateSync(path, 1000);
    await expect(runtime.testCandidate(path, limits, signal)).rejects.toMatchObject({ code: 'E_PACKAGE' });
  });

  it('OTA-097: lets a candidate that listens hear a stretch of sound in a process of its own, and tells what it hears at the end', async () => {
    const folder = temporaryFolder();
    const path = join(folder, 'ears.sterna');
    writeFileSync(path, (await buildPipelinePackage('sound', { classifier: tinyEars() }, { name: 'ears', version: '1.0.0', overrides: tinyEarsSettings })).bytes);
    const config = parseConfig({ state_dir: join(folder, 'state') });
    const limits = { timeoutMs: config.ota.warm_timeout_ms, memoryBytes: config.ota.warm_memory_bytes };
    const shadow = await runtimePort(config, () => undefined).openShadow(path, { overrides: {}, rules: {}, gallery: null }, limits, new AbortController().signal);
    expect(shadow).toMatchObject({ vocabulary: { kind: 'sound' }, sound: { rate: 16_000 } });
    const hear = async (pieces: Parameters<typeof tones>[0]): Promise<string[]> => {
      const { findings, cpuMs } = await shadow.process({ sequence: 9, capturedMs: performance.now() - 3000, rate: 16_000, samples: tones(pieces) });
      expect(cpuMs).toBeGreaterThan(0);
      return findings.map(({ type, label }) => `${type} ${label}`);
    };
    expect(await hear([[0, 1], [3000, 2]])).toContain('sound whistle');
    expect(await hear([[3000, 1], [0, 2]])).toEqual([]);
    expect(await hear([[0, 1], [3000, 2]])).toContain('sound whistle');
    await expect(shadow.process({ sequence: 9, capturedMs: 0, rate: 8000, samples: tones([[0, 1]]) })).rejects.toBeInstanceOf(CandidateError);
    shadow.close();
  });

  it('runs a candidate in a process of its own, with the lowest priority, on frames as they are', async () => {
    const folder = temporaryFolder();
    const path = join(folder, 'faces.sterna');
    writeFileSync(path, (await buildPipelinePackage('face-recognition', tinyModels(), { name: 'faces', version: '1.0.0', embeddingSpaceId: 'colours', budget: { joules: 3 } })).bytes);
    const config = parseConfig({ state_dir: join(folder, 'state') });
    const runtime = runtimePort(config, () => undefined);
    const limits = { timeoutMs: config.ota.warm_timeout_ms, memoryBytes: config.ota.warm_memory_bytes };
    const key = { file: join(folder, 'gallery.key'), create: true };
    const gallery = runtime.openGallery(join(folder, 'gallery.db'), key);
    const shadow = await runtime.openShadow(path, { overrides: {}, rules: {}, gallery: { path: join(folder, 'gallery.db'), key } }, limits, new AbortController().signal);
    expect(shadow).toMatchObject({ vocabulary: { kind: 'face-recognition', embeddingSpaceId: 'colours' }, budget: { joules: 3 } });
    // A view of a larger buffer, as sources deliver them.
    const data = new Uint8Array(new ArrayBuffer(3 * 64 * 48 + 100), 50, 3 * 64 * 48).fill(90);
    const sample = await shadow.process({ sequence: 1, capturedMs: 5, width: 64, height: 48, data });
    expect(sample.cpuMs).toBeGreaterThan(0);
    expect(sample.joules).toBeCloseTo((sample.cpuMs / 1000) * config.energy.watts_per_core);
    await expect(shadow.process({ sequence: 2, capturedMs: 6, width: 64, height: 48, data: new Uint8Array(5) })).rejects.toBeInstanceOf(CandidateError);
    shadow.close();
    await expect(shadow.process({ sequence: 3, capturedMs: 7, width: 64, height: 48, data })).rejects.toMatchObject({ code: 'E_OTA_GATE_KILLED' });
    truncateSync(path, 1000);
    await expect(runtime.openShadow(path, { overrides: {}, rules: {}, gallery: null }, limits, new AbortController().signal)).rejects.toMatchObject({ code: 'E_PACKAGE' });
    gallery.close();
  }, 240_000); // at the lowest priority it waits for everybody else on a busy machine

  it('keeps none when the bound is 0', async () => {
    const folder = temporaryFolder();
    const path = join(folder, 'faces.sterna');
    writeFileSync(path, (await buildPipelinePackage('face-recognition', tinyModels(), { name: 'faces', version: '1.0.0' })).bytes);
    const runtime = runtimePort(parseConfig({ state_dir: join(folder, 'state'), cache_max_bytes: 0 }), () => undefined);
    const gallery = runtime.openGallery(':memory:', { file: join(temporaryFolder(), 'gallery.key'), create: true });
    await (await runtime.openModel(path, gallery, {})).pipeline.close();
    expect(readdirSync(folder)).toEqual(['faces.sterna']);
    gallery.close();
  });
});
