import { describe, expect, it } from 'vitest';
import { gateBars } from '../../../deploy/bench/pipeline/gates.js';
import { nativeMissing } from '../../runtime/support/native.js';

describe.skipIf(nativeMissing !== undefined)('the figures of the gates', () => {
  it('are measured on a scene that stops at the pixels', { timeout: 60_000 }, async () => {
    const bars = await gateBars();
    expect(bars.map(({ id, unit }) => [id, unit])).toEqual([['quiet_camera', 'ms'], ['pixel_gate_720p', 'ms']]);
    for (const { value, bar, met } of bars) expect(met).toBe(value > 0 && value <= Number(/[\d.]+/.exec(String(bar))?.[0]));
  });
});
