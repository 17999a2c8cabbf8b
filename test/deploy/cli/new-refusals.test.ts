import { describe, expect, it } from 'vitest';
import { reportOf } from '../../../deploy/cli/fleet/collect.js';
import { NewRefusals } from '../../../deploy/cli/report-options.js';
import { ReportGuard } from '../../../deploy/repository/report-guard.js';
import { SharedCollector } from '../../../deploy/collector/shared-collector.js';
import { encodePayload, reportedSchema } from '../../../agent/contracts/index.js';
import { reported } from '../fixtures.js';

const unsigned = encodePayload(reportedSchema, reported());

function guardOf(): { guard: ReportGuard; refuse: (device: string) => void } {
  const guard = new ReportGuard({ keys: { source: 'access', of: () => ({ keys: [], problems: [] }) } });
  return { guard, refuse: (device) => expect(() => guard.read({ fleet: 'test', device }, unsigned)).toThrow() };
}

describe('reports that a collector refused', () => {
  it('are named once for each line of figures, with device, code and count', () => {
    const { guard, refuse } = guardOf();
    const refusals = new NewRefusals(guard);
    expect(refusals.take()).toEqual({ text: '', json: [], devices: 0 });
    for (const device of ['door', 'gate', 'door']) refuse(device);
    const { text, json, devices } = refusals.take();
    expect(devices).toBe(2);
    expect(text.split('\n')).toEqual([expect.stringMatching(/^test\/door: 2 reports refused: .*\(E_REPORT_UNSIGNED\)$/), expect.stringMatching(/^test\/gate: 1 report refused: .*\(E_REPORT_UNSIGNED\)$/)]);
    expect(json).toMatchObject([{ fleet: 'test', device: 'door', code: 'E_REPORT_UNSIGNED', count: 2 }, { fleet: 'test', device: 'gate', count: 1 }]);
    expect(refusals.take().devices).toBe(0);
    refuse('gate');
    expect(refusals.take().json).toMatchObject([{ device: 'gate', count: 2 }]);
  });

  it('cannot fill a log: of any number of invented devices ten are named', () => {
    const { guard, refuse } = guardOf();
    for (let i = 0; i < 3000; i++) refuse(`d${i}`);
    const { text, json, devices } = new NewRefusals(guard).take();
    expect({ named: json.length, devices, lines: text.split('\n').length }).toEqual({ named: 10, devices: 1000, lines: 11 });
    expect(text).toContain('... and reports of 990 more devices');
  });

  it('are in the line of `sterna fleet collect`, and in its JSON', async () => {
    const { guard, refuse } = guardOf();
    refuse('door');
    const collector = new SharedCollector({ url: 'mqtt://127.0.0.1:1', group: 'g', name: 'a', guard }, { commit: () => Promise.resolve([]) });
    const { text, json } = await reportOf(collector, { totals: () => Promise.reject(new Error('away')) }, new NewRefusals(guard));
    expect(text).toMatch(/\ntest\/door: 1 report refused: .*\(E_REPORT_UNSIGNED\)$/);
    expect(json).toMatchObject({ refused_devices: 1, refused_reports: [{ device: 'door', code: 'E_REPORT_UNSIGNED' }] });
  });
});
