/** Packages with models of different shapes take each other's place between two frames of a camera. `npm run bench:updates` runs it for longer. */
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { buildPipelinePackage } from '../../../deploy/package/build.js';
import { meanModel, tinyModels } from '../../deploy/package/tiny-models.js';
import { nativeMissing } from '../../runtime/support/native.js';
import { temporaryFolder } from '../support/tools.js';

/** `npm run bench:updates` sets these. */
const switches = Number(process.env['STERNA_SWITCHES'] ?? 3);
const reportFile = process.env['STERNA_SWITCHES_REPORT'];
const script = resolve(import.meta.dirname, '../support/switching.mjs');
const skipped = nativeMissing === undefined ? '' : ` (${nativeMissing})`;

interface Outcome { switches: number; frames: number; lost_by_switch: number; swaps: number; code: string | null; rolled_back: [string, string | null] }

/** A detector that sees pictures of another size than that of the first package. */
function otherDetector(): Uint8Array {
  const zeros = (rows: number): number[][] => Array.from({ length: rows }, () => [0, 0, 0]);
  return meanModel([1, 3, 48, 64], [
    { name: 'scores', weights: zeros(2), bias: [0.1, 0.9], dims: [1, 1, 2] },
    { name: 'boxes', weights: zeros(4), bias: [0.25, 0.25, 0.75, 0.75], dims: [1, 1, 4] },
  ]);
}

describe.skipIf(nativeMissing !== undefined)(`the switch from one package to another${skipped}`, () => {
  it('happens between two frames, also when shapes change; a broken rule leads back', async () => {
    const folder = temporaryFolder();
    const models = { a: tinyModels(), b: { ...tinyModels(), detector: otherDetector() } };
    for (const [name, version] of [['a', '1.0.0'], ['b', '2.0.0']] as const) {
      writeFileSync(join(folder, `${name}.sterna`), (await buildPipelinePackage('face-recognition', models[name], { name: 'faces', version, embeddingSpaceId: 'colours' })).bytes);
    }
    const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', script, folder, String(switches)]);
    const outcome = JSON.parse(stdout) as Outcome;
    if (reportFile !== undefined) writeFileSync(reportFile, stdout);
    expect(outcome).toMatchObject({ switches, lost_by_switch: 0, swaps: switches + 1, code: 'E_OTA_PROBATION_LATENCY' });
    const [running, before] = outcome.rolled_back;
    expect([running, before].sort()).toEqual(['1.0.0', '2.0.0']);
  }, 60_000 + switches * 30_000);
});
