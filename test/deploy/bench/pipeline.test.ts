import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { incrementalBars } from '../../../deploy/bench/pipeline/incremental.js';
import { nativeMissing } from '../../runtime/support/native.js';
import { captureCli } from '../cli/capture.js';
import { boxesModel } from '../cli/single-model.js';

describe('sterna bench-pipeline', () => {
  it('names a section whose model and film are absent', async () => {
    const { code, out } = await captureCli(['--json', 'bench-pipeline', '--only', 'incremental']);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ bars: [], absent: { incremental: 'it needs --detector FILE and --footage FILE' } });
  });

  it('refuses a section that does not exist', async () => {
    const { code, err } = await captureCli(['bench-pipeline', '--only', 'nothing']);
    expect(code).not.toBe(0);
    expect(err).toContain('gates, cameras, incremental but received nothing');
  });
});

describe.skipIf(nativeMissing !== undefined)('the figures of incremental runs', () => {
  let folder = '';

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sterna-bench-'));
    for (let i = 0; i < 3; i++) await sharp({ create: { width: 64, height: 64, channels: 3, background: '#f00' } }).png().toFile(join(folder, `${i}.png`));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('are measured against full runs of the same frames', { timeout: 60_000 }, async () => {
    const bars = await incrementalBars({ model: boxesModel([[0, 0, 0.5, 0.5]], [1, 3, 64, 64]), video: folder, name: 'red', label: 'class 0' });
    expect(bars.map(({ id, unit }) => [id, unit])).toEqual([['incremental.red.kept', '%'], ['incremental.red.kept-low', '%'], ['incremental.red.cost', 'x']]);
    expect(bars[0]).toMatchObject({ value: 100, met: true });
    expect(bars[0]?.what).toContain('(3 of 3, 3 frames of red)');
  });
});
