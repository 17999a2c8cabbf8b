import { writeFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../support/tools.js';
import { bundleDevice } from '../support/bundle.js';
import { Killer, type KillReport } from './kills.js';

/** `npm run bench:kills` sets these. */
const kills = Number(process.env['STERNA_KILLS'] ?? 6);
const seed = Number(process.env['STERNA_KILLS_SEED'] ?? 1);
const reportFile = process.env['STERNA_KILLS_REPORT'];

const reports: Record<string, KillReport> = {};
beforeAll(bundleDevice, 60_000);

describe('SIGKILL at random moments of updates', () => {
  it.each([['without a camera', false], ['with a camera', true]] as const)('%s: always one verified model, and every good update commits', async (title, camera) => {
    const report = await new Killer({ folder: temporaryFolder(), seed: seed + (camera ? 1000 : 0), kills, camera, mostPerUpdate: 6 }).run();
    reports[title] = report;
    if (reportFile !== undefined) writeFileSync(reportFile, JSON.stringify(reports));
    expect(report.violations).toEqual([]);
    expect(report).toMatchObject({ kills, committed: report.updates });
    expect(report.frames > 0).toBe(camera);
  }, 120_000 + kills * 30_000);
});
