import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { endForPipeline, endOfRun, noteCrash, takeRunEvidence, type LastRun, type RunEvidence, type RunRecord } from '../../../agent/platform/last-run.js';
import { temporaryFolder } from '../../support/folder.js';

const run: RunRecord = { pid: 7, kernel_boot: 'one', opening: {}, hung: [] };
const nothing: RunEvidence = { kernelBoot: 'one', crashedPid: null, service: null };
const service = (result: string, status = ''): RunEvidence => ({ ...nothing, service: { result, code: 'killed', status } });

describe('how the last run ended', () => {
  it.each<[string, RunRecord | null, RunEvidence, string]>([
    ['in order', null, nothing, 'clean'],
    ['nothing is known', run, nothing, 'killed'],
    ['the kernel started anew', run, { ...nothing, kernelBoot: 'two' }, 'power'],
    ['no /proc', { ...run, kernel_boot: null }, { ...nothing, kernelBoot: null }, 'killed'],
    ['an exception of that process', run, { ...nothing, crashedPid: 7 }, 'crash'],
    ['an exception of another process', run, { ...nothing, crashedPid: 8 }, 'killed'],
    ['watchdog', run, service('watchdog', 'ABRT'), 'watchdog'],
    ['watchdog, while a frame hung', { ...run, hung: ['main'] }, service('watchdog', 'ABRT'), 'hang'],
    ['a kill, while a frame hung', { ...run, hung: ['main'] }, service('signal', 'KILL'), 'killed'],
    ['out of memory', run, service('oom-kill', 'KILL'), 'oom'],
    ['core dump', run, service('core-dump', 'SEGV'), 'crash'],
    ['fault signal', run, service('signal', 'SEGV'), 'crash'],
    ['killed from outside', run, service('signal', 'KILL'), 'killed'],
    ['before the power failed systemd saw a crash of a run before it', run, { ...service('core-dump', 'SEGV'), kernelBoot: 'two' }, 'power'],
  ])('%s', (_, previous, evidence, expected) => {
    expect(endOfRun(previous, evidence)).toBe(expected);
  });

  it.each<[string, LastRun, string, { ended: string; opening: string | null }]>([
    ['a hang is that of the pipeline that hung', { ended: 'hang', opening: {}, hung: ['back'] }, 'back', { ended: 'hang', opening: null }],
    ['and comes from outside for the others', { ended: 'hang', opening: {}, hung: ['back'] }, 'front', { ended: 'watchdog', opening: null }],
    ['a crash while a package was opened is that of its pipeline', { ended: 'crash', opening: { back: 'bb' }, hung: [] }, 'back', { ended: 'crash', opening: 'bb' }],
    ['and comes from outside for the others', { ended: 'crash', opening: { back: 'bb' }, hung: [] }, 'front', { ended: 'killed', opening: null }],
    ['any other crash may be that of each', { ended: 'crash', opening: {}, hung: [] }, 'front', { ended: 'crash', opening: null }],
    ['a power cut is nobody\'s', { ended: 'power', opening: { back: 'bb' }, hung: [] }, 'back', { ended: 'power', opening: 'bb' }],
  ])('of several pipelines: %s', (_, run, pipeline, expected) => {
    expect(endForPipeline(run, pipeline)).toEqual(expected);
  });

  it('is read once', () => {
    const folder = temporaryFolder();
    noteCrash(folder, new Error('a defect'));
    writeFileSync(join(folder, 'service-result'), 'signal killed KILL\n');
    expect(takeRunEvidence(folder, 'one')).toEqual({ kernelBoot: 'one', crashedPid: process.pid, service: { result: 'signal', code: 'killed', status: 'KILL' } });
    expect(takeRunEvidence(folder, 'one')).toEqual(nothing);
  });

  it('a note that is cut off says nothing', () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'crash.json'), '{"pid":');
    writeFileSync(join(folder, 'service-result'), '');
    expect(takeRunEvidence(folder, 'one')).toEqual(nothing);
  });

  it('the unit file leaves the note where it is looked for', () => {
    expect(readFileSync('systemd/sternad.service', 'utf8')).toMatch(/^ExecStopPost=-.*SERVICE_RESULT.*EXIT_CODE.*EXIT_STATUS.*STATE_DIRECTORY\}\/service-result/m);
    expect(existsSync('systemd/sternad.service')).toBe(true);
  });
});
