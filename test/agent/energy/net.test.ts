import { describe, expect, it } from 'vitest';
import { NetEnergy } from '../../../agent/energy/net.js';
import type { EnergyMeter, Reading } from '../../../agent/energy/types.js';

/** A counter of the whole machine: so many watts by a clock of its own, and what the test adds. */
class Machine {
  nowMs = 0;
  extra = 0;
  invalid = false;
  #last = { ms: 0, extra: 0 };

  meter(source: string, watts: number): EnergyMeter {
    return {
      source, scope: 'package', quality: 'measured',
      sample: (nowMs): Promise<Reading> => {
        if (this.invalid) return Promise.resolve({ invalid: 'reset' });
        const joules = (nowMs - this.#last.ms) / 1000 * watts + this.extra - this.#last.extra;
        this.#last = { ms: nowMs, extra: this.extra };
        return Promise.resolve({ joules });
      },
    };
  }

  /** Each look at the clock is 10 ms later. */
  readonly now = (): number => { this.nowMs += 10; return this.nowMs; };
}

describe('the energy of one piece of work', () => {
  it('is what the meter shows, less the power of the machine before', async () => {
    const machine = new Machine();
    const energy = new NetEnergy([machine.meter('rapl', 20)], machine.now);
    await energy.begin(5);
    expect(energy.source).toBe('rapl/package');
    machine.extra = 3;
    // The clock moves on between reading and subtracting: 20 W for some steps of 10 ms.
    expect(await energy.read()).toBeGreaterThan(2);
    expect(await energy.read()).toBeLessThan(4);
    energy.end();
  });

  it('is unknown without a meter, and after a reading that cannot be true', async () => {
    const none = new NetEnergy([]);
    await none.begin(1);
    expect(await none.read()).toBeNull();
    const machine = new Machine();
    const broken = new NetEnergy([machine.meter('rapl', 20)], machine.now);
    await broken.begin(1);
    machine.invalid = true;
    expect(await broken.read()).toBeNull();
    broken.end();
  });
});
