import { describe, expect, it } from 'vitest';
import type { Event } from '../../agent/contracts/index.js';
import { healthOf } from '../../deploy/collector/health.js';
import { inferenceEnergy } from '../../deploy/collector/view.js';
import { reported, status, telemetry } from './fixtures.js';

const fault = (code: string, cleared: boolean, boot = status().boot_id): Event => ({
  schema_version: 1, event_id: `${code}-${String(cleared)}`, boot_id: boot, time_ms: 1, clock_synchronized: true, backfill: false,
  type: 'fault', component: 'camera', severity: 'error', cleared, error: { code, message: 'gone' },
});

describe('the health of a device', () => {
  const of = (over: Parameters<typeof reported>[0], events: Event[] = []): string => {
    const { level, alarms } = healthOf({ status: status(), reported: reported(over) }, events, true);
    return [level, ...alarms.map(({ title }) => title)].join(', ');
  };

  it('is good only for a connected device that runs a model and reports nothing wrong', () => {
    expect(of({ faults: [] })).toBe('good');
    expect(of({ faults: [{ component: 'camera', code: 'E_CAMERA_LOST', message: '' }] })).toBe('bad, camera lost');
    expect(of({ faults: [{ component: 'outbox', code: 'E_DISK_FULL', message: '' }] })).toBe('warning, disk full');
    expect(of({ slots: { active: null, previous: null } })).toBe('warning, no model');
    expect(of({ ota: { ...reported().ota, state: 'rolled_back' } })).toBe('warning, update rolled back');
    expect(healthOf({ status: status({ state: 'offline' }), reported: reported() }, [], true)).toMatchObject({ level: 'bad', alarms: [{ title: 'offline' }] });
    expect(healthOf({ status: status(), reported: reported() }, [], false).level).toBe('unknown');
    expect(healthOf({ status: null, reported: null }, [], true).level).toBe('unknown');
  });

  it('knows the faults of older agents by their events, newest first, of this start only', () => {
    expect(of({}, [fault('E_CAMERA_LOST', false)])).toBe('bad, camera lost');
    expect(of({}, [fault('E_CAMERA_LOST', true), fault('E_CAMERA_LOST', false)])).toBe('good');
    expect(of({}, [fault('E_CAMERA_LOST', false, 'another-boot')])).toBe('good');
    expect(of({ faults: [] }, [fault('E_CAMERA_LOST', false)])).toBe('good');
  });
});

describe('the energy of an inference', () => {
  const window = (seq: number, inferences: number, model = '1.0.0'): ReturnType<typeof telemetry> => telemetry(seq, seq * 10_000, {
    model: { name: 'faces', version: model },
    energy: {
      sources: [{ source: 'rapl', scope: 'package-0', quality: 'measured', joules: 4 + 0.03 * inferences, joules_total: 1 }],
      inference: inferences === 0 ? null : { source: 'rapl', scope: 'package-0', quality: 'measured', gross_joules: (4 + 0.03 * inferences) / inferences, net_joules: 0.03 },
    },
  });

  it('is the mean by inference, so that an almost idle window does not move it', () => {
    const busy = inferenceEnergy([window(1, 100)]);
    const idle = inferenceEnergy([window(1, 100), window(2, 0), window(3, 1)]);
    expect(busy).toMatchObject({ inferences: 100, source: 'rapl', quality: 'measured' });
    expect(idle?.inferences).toBe(101);
    expect(idle?.net_joules).toBeCloseTo(0.03, 6);
    expect(idle?.gross_joules).toBeCloseTo((8 + 0.03 * 101) / 101, 6);
    expect(idle?.gross_joules).toBeLessThan(0.12); // the newest window alone says 4 J
  });

  it('is of the running model, and null when nothing ran', () => {
    expect(inferenceEnergy([window(1, 100), window(2, 7, '2.0.0')])?.inferences).toBe(7);
    expect(inferenceEnergy([window(1, 100), window(2, 0, '2.0.0')])).toBeNull();
    expect(inferenceEnergy([])).toBeNull();
  });
});
