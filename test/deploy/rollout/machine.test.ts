/** The state machine of roll-outs, without broker, database and clock. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { stepRollout, type DeviceOutcome, type RolloutEvent, type RolloutNote } from '../../../deploy/rollout/machine.js';
import { planRollout } from '../../../deploy/rollout/plan.js';
import { defaultSpec, parseWave, type RolloutSpec } from '../../../deploy/rollout/spec.js';
import { devicePhases, isFinished, newRollout, OPEN, stateSchema, TOUCHED, type RolloutDevice, type RolloutState } from '../../../deploy/rollout/state.js';

type Own<T> = T extends { device: RolloutDevice } ? Omit<T, 'device' | 'now_ms'> : never;

/** A roll-out with its rows, as the store keeps them. */
class Bench {
  readonly spec: RolloutSpec;
  state: RolloutState;
  now = 1000;
  readonly rows = new Map<string, RolloutDevice>();
  readonly notes: RolloutNote[] = [];
  readonly asked: { device: string; phase: string; wave: number }[] = [];

  constructor(n: number, over: Partial<RolloutSpec> = {}) {
    this.spec = { ...defaultSpec, seed: 'seed', spread_ms: 0, soak_ms: 0, waves: ['10%', '100%'].map(parseWave), ...over };
    const { devices } = planRollout(this.spec, Array.from({ length: n }, (_, i) => ({ device: `d${i}`, pipeline: 'main', labels: {}, active: null })), 'x');
    this.state = newRollout(this.spec.waves.map((_, wave) => devices.filter((d) => d.wave === wave).length));
    for (const device of devices) this.rows.set(device.device, { ...device, phase: 'waiting', changed_ms: 0, asked_ms: null, generation: null, error: null, before: null });
  }

  #apply(event: RolloutEvent): void {
    const before = this.state;
    const step = stepRollout(this.spec, this.state, event);
    this.state = step.state;
    if (step.device !== null) this.rows.set(step.device.device, step.device);
    if (step.action?.type === 'ask') this.asked.push({ device: step.action.device.device, phase: before.phase, wave: before.wave });
    this.notes.push(...step.notes);
  }

  tick(ms = 0): this {
    this.now += ms;
    this.#apply({ type: 'tick', now_ms: this.now });
    return this;
  }

  operator(type: 'pause' | 'resume' | 'abort'): this {
    this.#apply({ type, by: 'ada', now_ms: this.now });
    return this;
  }

  device(device: string, event: Own<RolloutEvent>): this {
    const row = this.rows.get(device);
    if (row !== undefined) this.#apply({ ...event, device: row, now_ms: this.now } as RolloutEvent);
    return this;
  }

  wave(wave: number): string[] {
    return [...this.rows.values()].filter((row) => row.wave === wave).map(({ device }) => device);
  }

  /** Tells the devices of a wave, and lets them end. */
  run(wave: number, outcome: (device: string, i: number) => DeviceOutcome | null): this {
    this.wave(wave).forEach((device, i) => {
      this.device(device, { type: 'due', before: null, generation: 7 }).device(device, { type: 'asked', generation: 7 });
      const ended = outcome(device, i);
      if (ended !== null) this.device(device, { type: 'ended', outcome: ended, error: ended === 'rejected' ? { code: 'E_OTA_GATE_LATENCY', message: 'too slow' } : null });
    });
    return this;
  }
}

describe('the waves of a roll-out', () => {
  it('open one after the other, each when enough of the earlier one have succeeded, and end it', () => {
    const bench = new Bench(50).tick();
    expect(bench.state.waves.map(({ size, opened_ms }) => [size, opened_ms])).toEqual([[5, 1000], [45, null]]);
    bench.run(0, (_, i) => (i < 4 ? 'proven' : null)).tick();
    expect(bench.state.wave).toBe(0); // 4 of 5 are 80 %, and 90 % are needed
    bench.device(bench.wave(0)[4] ?? '', { type: 'ended', outcome: 'proven', error: null }).tick();
    expect(bench.state.wave).toBe(1);
    bench.run(1, () => 'proven').tick();
    expect(bench.state.phase).toBe('complete');
    expect(bench.notes.map(({ kind }) => kind)).toEqual(['opened', 'passed', 'opened', 'passed', 'complete']);
  });

  it('wait for the soak, in which a failure still halts, and for the probation of devices', () => {
    const bench = new Bench(50, { soak_ms: 1000 }).tick().run(0, () => 'committed').tick();
    expect(bench.state.waves[0]).toMatchObject({ passed_ms: null, counts: { proving: 5, succeeded: 0 } });
    for (const device of bench.wave(0)) bench.device(device, { type: 'ended', outcome: 'proven', error: null });
    expect(bench.tick().tick(900).state.wave).toBe(0);
    bench.device(bench.wave(0)[0] ?? '', { type: 'ended', outcome: 'rolled_back', error: { code: 'E_OTA_CRASHES', message: 'x' } });
    expect(bench.state).toMatchObject({ phase: 'halted', halt: { rule: 'errors', wave: 0, codes: { E_OTA_CRASHES: 1 }, devices: [{ device: bench.wave(0)[0], code: 'E_OTA_CRASHES' }] } });
    expect(bench.tick(5000).state.wave).toBe(0);
  });

  it('start each device at its own time, and keep the distances over a pause', () => {
    const bench = new Bench(50, { spread_ms: 1000 }).tick();
    const device = [...bench.rows.values()].filter(({ wave }) => wave === 0).reduce((a, b) => (a.offset_ms > b.offset_ms ? a : b));
    bench.now = 1000 + device.offset_ms - 1;
    expect(bench.device(device.device, { type: 'due', before: null, generation: 7 }).asked).toEqual([]);
    bench.operator('pause');
    bench.now += 10_000;
    expect(bench.device(device.device, { type: 'due', before: null, generation: 7 }).asked).toEqual([]);
    bench.operator('resume').device(device.device, { type: 'due', before: null, generation: 7 });
    expect(bench.asked).toEqual([]);
    bench.now += 1;
    expect(bench.device(device.device, { type: 'due', before: null, generation: 7 }).asked).toHaveLength(1);
  });
});

describe('the rules of a roll-out', () => {
  it('count a device in probation as a result: quick failures do not outrun slow successes', () => {
    const bench = new Bench(1000, { max_error_percent: 5 }).tick().run(0, (_, i) => (i < 96 ? 'committed' : null));
    for (const device of bench.wave(0).slice(96, 99)) bench.device(device, { type: 'ended', outcome: 'rejected', error: null });
    expect(bench.state.phase).toBe('running');
    bench.device(bench.wave(0)[99] ?? '', { type: 'ended', outcome: 'rejected', error: null });
    for (const device of bench.wave(0).slice(0, 2)) bench.device(device, { type: 'ended', outcome: 'rolled_back', error: null });
    expect(bench.state.halt).toMatchObject({ rule: 'errors', failed: 6, samples: 100 });
  });

  it('judge no wave by fewer results than the least, unless it has no more', () => {
    const bench = new Bench(50, { min_samples: 5 }).tick().run(0, (_, i) => (i < 4 ? 'rejected' : null));
    expect(bench.state.phase).toBe('running');
    bench.device(bench.wave(0)[4] ?? '', { type: 'late', online: false });
    expect(bench.state).toMatchObject({ phase: 'halted', halt: { failed: 4, samples: 4 } });
    const small = new Bench(10).tick().run(0, () => 'rejected');
    expect(small.state.halt?.text).toMatch(/^1 of 1 results of wave 1 \(10 %\) are failures \(100 %\), and at most 5 % may be\. E_OTA_GATE_LATENCY on 1 device: d\d$/);
  });

  it('halt as soon as too few can succeed, and when nobody gives a result', () => {
    const few = new Bench(100, { max_error_percent: 50, min_success_percent: 90 }).tick().run(0, (_, i) => (i < 4 ? 'committed' : i < 6 ? 'rejected' : null));
    expect(few.state.halt).toMatchObject({ rule: 'success', failed: 2, samples: 6 });
    const away = new Bench(10).tick().run(0, () => null);
    away.device(away.wave(0)[0] ?? '', { type: 'late', online: false });
    expect(away.state.halt).toMatchObject({ rule: 'samples', failed: 0, samples: 0 });
    expect(away.operator('resume').tick().state).toMatchObject({ phase: 'running', wave: 1 });
  });

  it('accept the failures so far when an operator resumes, and halt for new ones', () => {
    const bench = new Bench(100).tick().run(0, (_, i) => (i < 8 ? 'proven' : i < 9 ? 'rejected' : null));
    expect(bench.state.phase).toBe('halted');
    bench.operator('resume').tick();
    expect(bench.state).toMatchObject({ phase: 'running', halt: null });
    const last = bench.wave(0)[9] ?? '';
    bench.device(last, { type: 'due', before: null, generation: 7 }).device(last, { type: 'asked', generation: 7 }).device(last, { type: 'ended', outcome: 'rejected', error: null });
    expect(bench.state).toMatchObject({ phase: 'halted', halt: { failed: 1, samples: 9, text: expect.stringContaining('apart from 1 that an operator accepted') as string } });
    bench.operator('resume').tick();
    expect(bench.state).toMatchObject({ phase: 'running', wave: 1 });
  });

  it('take everything back at once when that is wished', () => {
    const bench = new Bench(50, { on_halt: 'abort' }).tick().run(0, () => 'rejected');
    expect(bench.state).toMatchObject({ phase: 'aborting', halt: { rule: 'errors' } });
  });

  it('halt when the fleet side cannot sign, and try the same device again afterwards', () => {
    const bench = new Bench(50).tick();
    const [device = ''] = bench.wave(0);
    bench.device(device, { type: 'due', before: null, generation: 7 }).device(device, { type: 'not_asked', error: { code: 'E_KEY', message: 'no key' }, final: true });
    expect(bench.state).toMatchObject({ phase: 'halted', halt: { rule: 'unpublishable', text: expect.stringContaining('E_KEY: no key') as string } });
    expect(bench.rows.get(device)?.phase).toBe('waiting');
    bench.operator('resume').device(device, { type: 'due', before: null, generation: 7 });
    expect(bench.rows.get(device)?.phase).toBe('asking');
  });
});

describe('an abort', () => {
  it('returns every device that was told, leaves the others alone, and ends when the last one has returned', () => {
    const bench = new Bench(50).tick().run(0, (_, i) => (i < 2 ? 'proven' : null)).operator('abort');
    for (const device of bench.rows.keys()) bench.device(device, { type: 'withdraw', generation: 9 }).device(device, { type: 'withdrawn' });
    expect(bench.state.waves.map(({ counts }) => [counts.returning, counts.waiting])).toEqual([[5, 0], [0, 45]]);
    const [last = '', ...rest] = bench.wave(0);
    for (const device of rest) bench.device(device, { type: 'returned' });
    expect(bench.tick().state.phase).toBe('aborting');
    bench.device(last, { type: 'kept', error: { code: 'E_DEVICE_COMMAND', message: 'no previous package' } });
    expect(bench.tick().state.phase).toBe('aborted');
    expect(bench.notes.at(-1)?.text).toBe('1 device could not be made to return');
  });
});

/** Events of any kind for any device, in any order, also those that make no sense. */
const event = fc.oneof(
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('tick' as const), ms: fc.integer({ min: 0, max: 500 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('pause' as const, 'resume' as const, 'abort' as const) }) },
  {
    weight: 8, arbitrary: fc.record({
      kind: fc.constant('device' as const), device: fc.nat({ max: 11 }), own: fc.oneof(
        fc.constant({ type: 'due' as const, before: null, generation: 7 }), fc.constant({ type: 'asked' as const, generation: 7 }),
        fc.record({ type: fc.constant('not_asked' as const), error: fc.constant({ code: 'E_KEY', message: '' }), final: fc.boolean() }),
        fc.record({ type: fc.constant('ended' as const), outcome: fc.constantFrom<DeviceOutcome[]>('committed', 'proven', 'proven', 'proven', 'rejected', 'rolled_back', 'superseded'), error: fc.constantFrom(null, { code: 'E_X', message: '' }) }),
        fc.record({ type: fc.constant('late' as const), online: fc.boolean() }), fc.record({ type: fc.constant('withdraw' as const), generation: fc.constantFrom(null, 9) }),
        fc.constant({ type: 'withdrawn' as const }), fc.constant({ type: 'returned' as const }),
        fc.record({ type: fc.constant('kept' as const), error: fc.constant({ code: 'E_Y', message: '' }) }),
      ),
    }),
  },
);
type AnyEvent = typeof event extends fc.Arbitrary<infer T> ? T : never;

function play(bench: Bench, events: readonly AnyEvent[], check: (bench: Bench) => void): void {
  for (const each of events) {
    if (each.kind === 'tick') bench.tick(each.ms);
    else if (each.kind === 'device') bench.device(`d${each.device}`, each.own);
    else bench.operator(each.kind);
    check(bench);
  }
}

describe('any sequence of events', () => {
  const options = fc.record({ spread_ms: fc.constantFrom(0, 300), soak_ms: fc.constantFrom(0, 300), min_samples: fc.integer({ min: 1, max: 4 }), max_error_percent: fc.constantFrom(0, 30, 100), min_success_percent: fc.constantFrom(0, 50, 100), on_halt: fc.constantFrom('wait' as const, 'abort' as const) });
  const bench = (over: Partial<RolloutSpec>): Bench => new Bench(12, { ...over, waves: ['20%', '50%', '100%'].map(parseWave) });

  it('keeps the counts equal to the rows, starts devices only while it runs and only of open waves, and can be stored', () => {
    fc.assert(fc.property(options, fc.array(event, { maxLength: 200 }), (over, events) => {
      const run = bench(over);
      play(run, events, ({ state, rows }) => {
        state.waves.forEach((wave, i) => {
          const own = [...rows.values()].filter((row) => row.wave === i);
          const failed = own.filter(({ phase }) => phase === 'failed').map(({ device }) => device).sort();
          const sound = devicePhases.every((phase) => wave.counts[phase] === own.filter((row) => row.phase === phase).length)
            && Object.values(wave.codes).reduce((sum, n) => sum + n, 0) === failed.length && wave.failures.map(({ device }) => device).sort().join() === failed.join();
          if (!sound) expect({ wave, own }).toBe('counts, codes and failures as the rows say');
        });
      });
      for (const { device, phase, wave } of run.asked) expect({ phase, open: (run.rows.get(device)?.wave ?? 99) <= wave }).toEqual({ phase: 'running', open: true });
      expect(stateSchema.parse(JSON.parse(JSON.stringify(run.state)))).toEqual(run.state);
    }), { numRuns: 150 });
  });

  it('never ends with a device that was told and has no result, and a halt always has its reason', () => {
    fc.assert(fc.property(options, fc.array(event, { maxLength: 200 }), (over, events) => {
      play(bench(over), events, ({ state }) => {
        const count = (phases: readonly (typeof devicePhases)[number][]): number => state.waves.reduce((sum, { counts }) => sum + phases.reduce((n, phase) => n + counts[phase], 0), 0);
        if (state.phase === 'complete') expect(count(OPEN)).toBe(0);
        if (state.phase === 'aborted') expect(count([...TOUCHED, 'withdrawing', 'returning'])).toBe(0);
        if (state.phase === 'halted') expect(state.halt?.text).toMatch(/wave \d/);
      });
    }), { numRuns: 150 });
  });

  it('always comes to its end when the devices answer', () => {
    fc.assert(fc.property(options, fc.array(event, { maxLength: 60 }), fc.array(fc.constantFrom<DeviceOutcome[]>('proven', 'proven', 'rejected', 'superseded'), { minLength: 12, maxLength: 12 }), (over, events, answers) => {
      const run = bench(over);
      play(run, events, () => undefined);
      for (let round = 0; round < 40 && !isFinished(run.state); round++) {
        if (run.state.phase === 'paused' || run.state.phase === 'halted') run.operator('resume');
        run.tick(1000);
        [...run.rows.keys()].forEach((device, i) => {
          run.device(device, { type: 'due', before: null, generation: 7 }).device(device, { type: 'asked', generation: 7 }).device(device, { type: 'ended', outcome: answers[i] ?? 'proven', error: null });
          run.device(device, { type: 'late', online: false }).device(device, { type: 'withdraw', generation: 9 }).device(device, { type: 'withdrawn' }).device(device, { type: 'returned' });
        });
      }
      expect(isFinished(run.state)).toBe(true);
    }), { numRuns: 100 });
  });
});
