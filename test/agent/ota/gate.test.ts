import { describe, expect, it } from 'vitest';
import { updateRules } from '../../../agent/config/settings.js';
import type { GateReport } from '../../../agent/ground/package.js';
import type { GateRules } from '../../../agent/ground/update-rules.js';
import { noLimits, passGate } from '../../../agent/ota/gate.js';
import { testRules } from '../support/update-rules.js';

const id = { name: 'faces', version: '1.0.0', digest: 'a'.repeat(64), size_bytes: 10 };
const golden = [{ name: 'detector/out', passed: true, detail: 'cosine 1' }];
const report: GateReport = {
  name: 'faces', version: '1.0.0', memory_bytes: 1000, p50_ms: 5, p99_ms: 8, energy: { joules: 0.5, source: 'rapl/package-0' }, golden, embedding_space_id: null, gallery_plan: null,
  budget: { ram_bytes: 2000, p99_ms: 10, joules: 1 },
};
const strict: GateRules = { allow_without_golden: false };

function codeOf(over: Partial<GateReport>, rules: GateRules = strict): string {
  try {
    passGate(id, { ...report, ...over }, rules);
    return 'passed';
  } catch (error) {
    return (error as { code: string }).code;
  }
}

describe('the gate', () => {
  it('lets a package pass that keeps its own promises and the limits of the device', () => {
    expect(codeOf({})).toBe('passed');
    expect(codeOf({}, { p99_ms: 8, ram_bytes: 1000, joules: 0.5, allow_without_golden: false })).toBe('passed');
  });

  it.each<[string, Partial<GateReport>, string]>([
    ['a golden vector that fails', { golden: [...golden, { name: 'embedder/out', passed: false, detail: 'cosine 0.2' }] }, 'E_OTA_GATE_ACCURACY'],
    ['more memory', { memory_bytes: 2001 }, 'E_OTA_GATE_MEMORY'],
    ['a longer p99', { p99_ms: 10.1 }, 'E_OTA_GATE_LATENCY'],
    ['more energy', { energy: { joules: 1.1, source: 'rapl/package-0' } }, 'E_OTA_GATE_ENERGY'],
    ['a p99 that is no number', { p99_ms: NaN }, 'E_OTA_GATE_LATENCY'],
    ['another name', { name: 'objects' }, 'E_OTA_PACKAGE'],
  ])('OTA-090: refuses %s than the package promises', (_, over, code) => {
    expect(codeOf(over)).toBe(code);
  });

  it.each<[string, Partial<GateRules>, string]>([
    ['memory', { ram_bytes: 999 }, 'E_OTA_LIMIT_MEMORY'],
    ['latency', { p99_ms: 7.9 }, 'E_OTA_LIMIT_LATENCY'],
    ['energy', { joules: 0.49 }, 'E_OTA_LIMIT_ENERGY'],
  ])('OTA-091: refuses what needs more %s than this device allows, whatever the package promises', (_, rules, code) => {
    expect(codeOf({}, { ...strict, ...rules })).toBe(code);
  });

  it('OTA-092: refuses a package without golden vectors, unless a signed setting or the configuration allows it', () => {
    const bare = { golden: [], p50_ms: null, p99_ms: null, energy: null };
    expect(codeOf(bare)).toBe('E_OTA_GATE_GOLDEN');
    expect(codeOf(bare, { allow_without_golden: true })).toBe('passed');
    // What was allowed is allowed to run: its nightly self-test is no reason to go back.
    expect(codeOf(bare, noLimits)).toBe('passed');
  });

  it('judges no energy where the device cannot tell it, nor where nobody limits it', () => {
    expect(codeOf({ energy: null }, { ...strict, joules: 0.001 })).toBe('passed');
    expect(codeOf({ energy: { joules: 900, source: 'x' }, budget: { ram_bytes: 2000, p99_ms: 10 } })).toBe('passed');
  });
});

describe('the limits of a device', () => {
  const { shadow, probation } = testRules;
  const config = { gate: { p99_ms: 50, allow_without_golden: false }, shadow, probation };

  it('can be tightened from afar, and not loosened', () => {
    expect(updateRules(config, { update: { gate: { p99_ms: 20, joules: 1 } } }).gate).toMatchObject({ p99_ms: 20, joules: 1, allow_without_golden: false });
    expect(updateRules(config, { update: { gate: { p99_ms: 500 } } }).gate.p99_ms).toBe(50);
    expect(updateRules(config, {}).gate).toMatchObject({ p99_ms: 50 });
  });

  it('let the signed setting decide on packages without golden vectors', () => {
    expect(updateRules(config, { update: { gate: { allow_without_golden: true } } }).gate.allow_without_golden).toBe(true);
    expect(updateRules({ gate: { allow_without_golden: true }, shadow, probation }, { update: { gate: { allow_without_golden: false } } }).gate.allow_without_golden).toBe(false);
  });

  it('let settings change single rules of the shadow', () => {
    expect(updateRules(config, { update: { shadow: { agreement: 0, every: 9 } } }).shadow).toEqual({ ...shadow, agreement: 0, every: 9 });
    expect(updateRules(config, {}).shadow).toEqual(shadow);
  });
});
