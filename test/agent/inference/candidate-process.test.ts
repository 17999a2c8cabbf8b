import { describe, expect, it } from 'vitest';
import { errorOfEnd, testInProcess, type CandidateEnd } from '../../../agent/inference/candidate-process.js';
import { packageBytes, fakeCandidate } from '../support/fake-runtime.js';
import { temporaryFolder } from '../../support/folder.js';
import { join } from 'node:path';
import { writeFileSync } from 'node:fs';

const limits = { timeoutMs: 10_000, memoryBytes: 100_000_000 };
const end = (over: Partial<CandidateEnd>): CandidateEnd => ({ code: null, signal: null, endedFor: null, stderr: '', ...over });

describe('the end of the process that tests a candidate', () => {
  it.each<[string, CandidateEnd, string]>([
    ['our time limit', end({ signal: 'SIGKILL', endedFor: 'timeout' }), 'E_OTA_GATE_TIMEOUT'],
    ['our memory limit', end({ signal: 'SIGKILL', endedFor: 'memory' }), 'E_OTA_GATE_MEMORY'],
    ['the limit of V8', end({ signal: 'SIGABRT', stderr: 'FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory\n' }), 'E_OTA_GATE_MEMORY'],
    ['a fault', end({ signal: 'SIGSEGV' }), 'E_OTA_GATE_CRASH'],
    ['an exception', end({ code: 1, stderr: 'TypeError: x\n' }), 'E_OTA_GATE_CRASH'],
    ['an end without an answer', end({ code: 0 }), 'E_OTA_GATE_CRASH'],
    ['a kill from outside', end({ signal: 'SIGKILL' }), 'E_OTA_GATE_KILLED'],
    ['a signal from outside', end({ signal: 'SIGHUP' }), 'E_OTA_GATE_KILLED'],
  ])('%s', (_, ended, code) => {
    expect(errorOfEnd(ended, limits).code).toBe(code);
  });

  it('an answer comes back checked, and errors keep their code', async () => {
    const folder = temporaryFolder();
    const path = join(folder, 'good');
    writeFileSync(path, packageBytes({ name: 'faces', version: '1.0.0' }));
    const { signal } = new AbortController();
    await expect(testInProcess({ entry: fakeCandidate }, { path, engine: null }, limits, signal)).resolves.toMatchObject({ name: 'faces', version: '1.0.0' });
    await expect(testInProcess({ entry: fakeCandidate }, { path: join(folder, 'none'), engine: null }, limits, signal)).rejects.toMatchObject({ code: 'E_INTERNAL' });
  });

  it('an answer that is none is a crash', async () => {
    const path = join(temporaryFolder(), 'liar');
    writeFileSync(path, packageBytes({ name: 'faces', version: '1.0.0', memory: 'much' as unknown as number }));
    await expect(testInProcess({ entry: fakeCandidate }, { path, engine: null }, limits, new AbortController().signal)).rejects.toMatchObject({ code: 'E_OTA_GATE_CRASH' });
  });
});
