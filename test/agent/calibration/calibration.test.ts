/** `sterna energy calibrate` against rails whose truth is known. Time is simulated. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { describe, expect, it, vi } from 'vitest';
import { calibrate, type Calibration, type Rig } from '../../../agent/calibration/calibrate.js';
import { leastSquares, type Estimate } from '../../../agent/calibration/least-squares.js';
import { withLoads, type Load } from '../../../agent/calibration/loads.js';
import { runEnergy, withEnergyKeys } from '../../../agent/calibration/main.js';
import { bestMeter, findMeters } from '../../../agent/energy/monitor.js';
import type { HostFiles } from '../../../agent/platform/host-files.js';
import { uniform } from '../../../deploy/compress/random.js';
import { inspectModel } from '../../../runtime/index.js';
import { convolutionModel } from '../../../agent/ground/test-networks.js';
import { boards } from '../support/boards.js';
import { machine } from '../support/machine.js';
import { temporaryFolder } from '../support/tools.js';

interface Truth {
  idle: number;
  perCore: number;
  /** Standard deviation of a reading, watts. */
  noise?: number;
  /** What the base load adds at a time in seconds, watts. */
  base?: (seconds: number) => number;
  /** Readings are rounded to this, milliamperes at 5 V. */
  step?: number;
}
const CORES = 4;
/** Duration of a run, milliseconds, and multiply-adds. */
const KINDS = { int8: { ms: 5, macs: 40e6 }, float32: { ms: 12, macs: 40e6 } } as const;

/** A device in simulated time: loads keep all cores busy for as long as they run. */
class Device implements Rig {
  readonly files: HostFiles;
  readonly loads: Load[];
  readonly truth: Truth;
  #now = 0;
  #cpu = 0;
  #microjoules = 262_143_000_000;
  #busy = false;
  #samplers: { ms: number; due: number; work: () => void }[] = [];
  readonly #random = uniform(7);
  /** Files whose readings fail. */
  broken = false;

  constructor(truth: Truth, kind: 'ina' | 'rapl' = 'ina') {
    this.truth = truth;
    const fixed: Record<string, string> = kind === 'ina'
      ? { 'sys/class/hwmon/hwmon0/name': 'ina219', 'sys/class/hwmon/hwmon0/in1_input': '5000', 'sys/class/hwmon/hwmon0/curr1_input': '' }
      : { 'sys/class/powercap/intel-rapl:0/name': 'package-0', 'sys/class/powercap/intel-rapl:0/max_energy_range_uj': '262143328850', 'sys/class/powercap/intel-rapl:0/energy_uj': '' };
    const text = (path: string): string | null => {
      if (path.endsWith('curr1_input')) return this.broken ? null : String(this.#milliamperes());
      if (path.endsWith('energy_uj') && kind === 'rapl') return String(Math.round(this.#microjoules) % 262_143_328_850);
      return fixed[path] ?? null;
    };
    this.files = {
      text: (path) => Promise.resolve(text(path)),
      number: (path) => { const found = text(path); return Promise.resolve(found === null || found === '' ? null : Number(found)); },
      list: (folder) => Promise.resolve([...new Set(Object.keys(fixed).filter((path) => path.startsWith(`${folder}/`)).map((path) => path.slice(folder.length + 1).split('/')[0] ?? ''))]),
    };
    this.loads = (['int8', 'float32'] as const).map((format) => ({ format, macs: KINDS[format].macs, run: () => this.#work(KINDS[format].ms) }));
  }

  /** Without the noise of a reading. */
  #watts(): number {
    return this.truth.idle + (this.truth.base?.(this.#now / 1000) ?? 0) + (this.#busy ? this.truth.perCore * CORES : 0);
  }

  #milliamperes(): number {
    const gauss = Math.sqrt(-2 * Math.log(1 - this.#random())) * Math.cos(2 * Math.PI * this.#random());
    const step = this.truth.step ?? 1;
    return Math.round(Math.max(0, (this.#watts() + (this.truth.noise ?? 0) * gauss) / 5e-3) / step) * step;
  }

  async #advance(ms: number): Promise<void> {
    for (let left = ms; left > 0; left--) {
      const part = Math.min(1, left);
      this.#now += part;
      if (this.#busy) this.#cpu += (CORES * part) / 1000;
      this.#microjoules += this.#watts() * part * 1000;
      for (const sampler of this.#samplers.filter(({ due }) => due <= this.#now)) {
        sampler.due += sampler.ms;
        sampler.work();
        for (let i = 0; i < 6; i++) await Promise.resolve(); // the reading is that of this moment
      }
    }
  }

  async #work(ms: number): Promise<void> {
    this.#busy = true;
    await this.#advance(ms);
    this.#busy = false;
  }

  nowMs(): number { return this.#now; }
  cpuSeconds(): number { return this.#cpu; }
  sleep(ms: number): Promise<void> { return this.#advance(ms); }
  every(ms: number, work: () => void): () => void {
    this.#samplers = [{ ms, due: this.#now + ms, work }];
    return () => { this.#samplers = []; };
  }

  async calibrate(onStep?: (done: number) => void): Promise<Calibration> {
    const meter = bestMeter(await findMeters(this.files, { wattsPerCore: 1 }));
    if (meter === null) throw new Error('the device has no meter');
    return calibrate({ meter, loads: this.loads, rig: this, secondsPerStep: 8, ...(onStep === undefined ? {} : { onStep }) });
  }
}

/** Joules of a multiply-add that follow from the power of cores. */
const truthOfMacs = (perCore: number, { ms, macs }: { ms: number; macs: number }): number => (perCore * CORES * ms) / 1000 / macs;
/** The truth lies in the interval, which is narrow; a bias of half a percent is left to the trapezoids at the edges of work. */
function expectTruth({ value, plus_minus }: Estimate, truth: number, within: number): void {
  expect(Math.abs(value - truth)).toBeLessThanOrEqual(plus_minus * 1.5 + Math.abs(truth) * 0.005);
  expect(plus_minus).toBeLessThanOrEqual(Math.abs(truth) * within);
}

describe('the fit', () => {
  it('finds known coefficients, with intervals that contain them 95 times of 100', () => {
    const random = uniform(3);
    let inside = 0;
    for (let round = 0; round < 400; round++) {
      const rows = Array.from({ length: 13 }, (_, i) => [1, i / 6 - 1, (i * 5) % 4]);
      const y = rows.map(([, t = 0, x = 0]) => 3 + 0.2 * t + 1.5 * x + 0.1 * Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()));
      const { value = 0, plus_minus = 0 } = leastSquares(rows, y)?.coefficients[2] ?? {};
      if (Math.abs(value - 1.5) <= plus_minus) inside += 1;
    }
    expect(inside / 400).toBeGreaterThan(0.92);
    expect(inside / 400).toBeLessThan(0.98);
  });

  it('gives nothing when columns depend on each other, or rows are too few', () => {
    expect(leastSquares(Array.from({ length: 9 }, (_, i) => [1, i, 2 * i]), Array.from({ length: 9 }, (_, i) => i))).toBeNull();
    expect(leastSquares([[1, 0], [1, 1], [1, 2]], [0, 1, 2])).toBeNull();
  });
});

describe('a calibration', () => {
  it('finds the truth behind noise, coarse steps and a drifting base load', async () => {
    const truth = { idle: 2.4, perCore: 0.9, noise: 0.05, step: 8, base: (seconds: number) => 0.004 * seconds + 0.03 * Math.sin(seconds / 7) };
    const found = await new Device(truth).calibrate();
    expectTruth(found.watts_per_core, 0.9, 0.05);
    expectTruth(found.idle_watts, 2.4 + 0.004 * 52, 0.05);
    expectTruth(found.drift_watts_per_minute, 0.24, 0.4);
    expectTruth(found.joules_per_mac?.int8 ?? { value: NaN, plus_minus: NaN }, truthOfMacs(0.9, KINDS.int8), 0.05);
    expectTruth(found.joules_per_mac?.float32 ?? { value: NaN, plus_minus: NaN }, truthOfMacs(0.9, KINDS.float32), 0.05);
    expect(found).toMatchObject({ steps: 13, steps_left_out: 0 });
    expect(found.residual_watts).toBeLessThan(0.06);
    expect(found.r_squared).toBeGreaterThan(0.99);
  });

  it('reads counters that wrap', async () => {
    const found = await new Device({ idle: 3, perCore: 1.5 }, 'rapl').calibrate();
    expectTruth(found.watts_per_core, 1.5, 0.02);
    expectTruth(found.idle_watts, 3, 0.02);
  });

  it('leaves out a step with readings that are missing, and fails when they are many', async () => {
    const device = new Device({ idle: 2, perCore: 1, noise: 0.02 });
    const found = await device.calibrate((done) => { device.broken = done === 4; });
    expect(found).toMatchObject({ steps: 12, steps_left_out: 1 });
    expectTruth(found.watts_per_core, 1, 0.05);
    const failing = new Device({ idle: 2, perCore: 1 });
    await expect(failing.calibrate((done) => { failing.broken = done >= 4; })).rejects.toMatchObject({ code: 'E_ENERGY_READING', message: expect.stringContaining('ina219/') as string });
  });

  it('refuses a result when another load disturbs it, or when the load does not show', async () => {
    const wild = new Device({ idle: 2, perCore: 0.3, base: (seconds) => (Math.floor(seconds / 11) % 2 === 0 ? 4 : 0) });
    await expect(wild.calibrate()).rejects.toMatchObject({ code: 'E_ENERGY_FIT', message: expect.stringMatching(/a busy core takes .* ± .* W/) as string });
    await expect(new Device({ idle: 2, perCore: 0, noise: 0.05 }).calibrate()).rejects.toMatchObject({ code: 'E_ENERGY_FIT' });
  });
});

describe('the loads', () => {
  it('run on this machine, and have the multiply-adds that they state', async () => {
    await withLoads(async (loads) => {
      expect(loads.map(({ format }) => format)).toEqual(['int8', 'float32']);
      for (const load of loads) {
        await load.run();
        const { layers } = await inspectModel(convolutionModel({ channels: 64, side: 32 }, [load.format]));
        expect(layers.reduce((sum, { macs }) => sum + macs, 0)).toBe(load.macs);
      }
    });
  });
});

describe('the command', () => {
  async function command(words: string[], device: Device): Promise<{ code: number; text: string }> {
    let text = '';
    const quiet = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    try {
      const code = await runEnergy(['calibrate', ...words], (part) => { text += part; }, { files: device.files, rig: device, env: {}, withLoads: (work) => work(device.loads) });
      return { code, text };
    } finally {
      quiet.mockRestore();
    }
  }

  it('prints the result, and writes it into a configuration whose comments stay', async () => {
    const file = join(temporaryFolder(), 'sterna.yaml');
    writeFileSync(file, '# the door\ndevice_id: door # by the street\nenergy:\n  watts_per_core: 2.5 # guessed\ncamera: { input: /dev/video0 }\n', { mode: 0o640 });
    const { code, text } = await command(['--config', file, '--write', '--json'], new Device({ idle: 2, perCore: 0.75, noise: 0.02 }));
    expect(code).toBe(0);
    const { config } = JSON.parse(text) as { config: { energy: Record<string, number> } };
    expect(config.energy['watts_per_core']).toBeCloseTo(0.75, 1);
    expect(config.energy['idle_watts']).toBeCloseTo(2, 1);
    const written = readFileSync(file, 'utf8');
    expect(parse(written)).toEqual({ device_id: 'door', energy: config.energy, camera: { input: '/dev/video0' } });
    expect(written).toMatch(/^# the door\ndevice_id: door # by the street\n/);
    const shown = await command([], new Device({ idle: 2, perCore: 0.75, noise: 0.02 }));
    expect(shown.text).toMatch(/Measured by ina219 .*\nat rest +\d.* W\na busy core +0\.7.*\n[\s\S]*multiply-add, int8 .* pJ[\s\S]*energy:\n {2}watts_per_core: 0\.7/);
  });

  it('puts the keys into a configuration whose energy is empty or absent', () => {
    const keys = { watts_per_core: 1, idle_watts: 2 };
    for (const text of ['', 'energy:\n  # watts_per_core: 2.5\ngovernor: {}\n', 'device_id: a\n']) expect(parse(withEnergyKeys(text, keys))).toMatchObject({ energy: keys });
    expect(() => withEnergyKeys('energy: 5\n', keys)).toThrow('mapping');
  });

  it('says what to do where nothing measures', async () => {
    for (const [name, text] of [['Raspberry Pi 4', /E_ENERGY_SOURCE.*INA219/], ['a bare virtual machine', /E_ENERGY_SOURCE.*INA219/]] as const) {
      const device = new Device({ idle: 1, perCore: 1 });
      const { code, text: said } = await command(['--json'], Object.assign(device, { files: machine(boards[name]?.files ?? {}).files }));
      expect([name, code]).toEqual([name, 1]);
      expect(said).toMatch(text);
    }
    const hidden = Object.assign(new Device({ idle: 1, perCore: 1 }), { files: machine({ 'sys/class/powercap/intel-rapl:0/name': 'package-0' }).files });
    expect((await command(['--json'], hidden)).text).toMatch(/E_ENERGY_SOURCE.*60-sterna\.rules/);
    const charging = Object.assign(new Device({ idle: 1, perCore: 1 }), { files: machine({ 'sys/class/power_supply/BAT0/type': 'Battery', 'sys/class/power_supply/BAT0/status': 'Charging' }).files });
    expect((await command(['--json'], charging)).text).toMatch(/E_ENERGY_SOURCE.*Unplug the charger/);
    expect((await command(['--write'], charging)).code).toBe(2);
    expect((await command(['--seconds', '0'], charging)).code).toBe(2);
  });
});
