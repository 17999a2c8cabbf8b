import { describe, expect, it } from 'vitest';
import { healthOf } from '../../deploy/collector/health.js';
import { inferenceEnergy } from '../../deploy/collector/view.js';
import { pipelineReport, reported, status, telemetry } from './fixtures.js';

describe('the health of a device', () => {
  const of = (over: Parameters<typeof reported>[0]): string => {
    const { level, alarms } = healthOf({ status: status(), reported: reported(over) }, true);
    return [level, ...alarms.map(({ title }) => title)].join(', ');
  };

  it('is good only for a connected device that runs a model and reports nothing wrong', () => {
    expect(of({ faults: [] })).toBe('good');
    expect(of({ faults: [{ pipeline: null, component: 'camera', code: 'E_CAMERA_LOST', message: '' }] })).toBe('bad, camera lost');
    expect(of({ faults: [{ pipeline: null, component: 'outbox', code: 'E_DISK_FULL', message: '' }] })).toBe('warning, disk full');
    expect(of({ slots: { active: null, previous: null } })).toBe('warning, no model');
    expect(of({ ota: { ...pipelineReport().ota, state: 'rolled_back' } })).toBe('warning, update rolled back');
    expect(healthOf({ status: status({ state: 'offline' }), reported: reported() }, true)).toMatchObject({ level: 'bad', alarms: [{ title: 'offline' }] });
    expect(healthOf({ status: status(), reported: reported() }, false).level).toBe('unknown');
    expect(healthOf({ status: null, reported: null }, true).level).toBe('unknown');
  });

  it('says of several pipelines which one an alarm is about', () => {
    const lost = { pipeline: 'back', component: 'camera', code: 'E_CAMERA_LOST', message: '' };
    const pipelines = [pipelineReport({ name: 'front' }), pipelineReport({ name: 'back', ota: { ...pipelineReport().ota, state: 'rejected' } })];
    expect(of({ pipelines, faults: [lost] })).toBe('bad, back: camera lost, back: update rejected');
    expect(of({ pipelines: [pipelineReport({ ota: { ...pipelineReport().ota, state: 'rehearsing' } })] })).toBe('good');
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
