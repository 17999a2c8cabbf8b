import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { stepOta, type OtaEvent, type OtaLimits, type OtaStep } from '../../../agent/ota/machine.js';
import { initialOtaState, isBusy, type OtaState } from '../../../agent/ota/state.js';
import type { RunEnd } from '../../../agent/platform/last-run.js';

const limits: OtaLimits = { max_tries: 3, max_warm_crashes: 2, retry_base_ms: 1000, max_crashes: 3, probation_ms: 1000, max_failed_starts: 3, healthy_ms: 500 };
const pkg = (letter: string): { name: string; version: string; digest: string; size_bytes: number; block_bytes: number } => ({ name: 'faces', version: `1.0.${letter.charCodeAt(0)}`, digest: letter.repeat(64), size_bytes: 1000, block_bytes: 256 });
const desired = (generation: number, letter: string | null): OtaEvent => ({ type: 'desired', generation, package: letter === null ? null : pkg(letter) });
const booted = (ended: RunEnd, opening: string | null = null): OtaEvent => ({ type: 'booted', ended, opening, now_ms: 500 });
const failed = (generation: number, code: string): OtaEvent => ({ type: 'failed', generation, error: { code, message: code } });

function run(state: OtaState, ...events: OtaEvent[]): OtaStep {
  return events.reduce<OtaStep>((step, event) => stepOta(step.state, event, limits), { state, effects: [] });
}

/** Everything that an installation needs to succeed. */
function install(generation: number, letter: string): OtaEvent[] {
  return [
    desired(generation, letter), { type: 'checked', generation, present: false }, { type: 'downloaded', generation }, { type: 'verified', generation },
    { type: 'warming', generation }, { type: 'warmed', generation }, { type: 'shadowed', generation, now_ms: 100 },
  ];
}

const crashes = (state: OtaState, n: number, over: Partial<OtaLimits> = {}): OtaStep => Array.from({ length: n }).reduce<OtaStep>((step) => stepOta(step.state, booted('crash'), { ...limits, ...over }), { state, effects: [] });
const factory = { name: 'faces', version: '0.1.0', digest: 'f'.repeat(64), size_bytes: 5 };

const withA = run(initialOtaState, ...install(1, 'a')).state;
const withAB = run(withA, ...install(2, 'b')).state;

describe('the deployment machine', () => {
  it('goes through its states in order', () => {
    const phases = install(1, 'a').map((_, i, events) => run(initialOtaState, ...events.slice(0, i + 1)).state.phase);
    expect(phases).toEqual(['checking', 'downloading', 'verifying', 'staged', 'warming', 'shadow', 'committed']);
    expect(withA).toMatchObject({ active: { digest: pkg('a').digest }, previous: null, generation_seen: 1, generation_applied: 1, probation: { crashes: 0 } });
  });

  it('keeps the old package as the previous one', () => {
    expect(withAB).toMatchObject({ active: { digest: pkg('b').digest }, previous: { digest: pkg('a').digest } });
  });

  it('does not download what is in the store', () => {
    expect(run(initialOtaState, desired(1, 'a'), { type: 'checked', generation: 1, present: true }).effects).toMatchObject([{ type: 'verify' }]);
  });

  it('ignores older generations and repeats', () => {
    expect(run(withAB, desired(1, 'a')).state).toBe(withAB);
    expect(run(withAB, desired(2, 'b')).state).toBe(withAB);
  });

  it('takes no generation that is further ahead than a publisher can have counted', () => {
    expect(run(withAB, desired(Number.MAX_SAFE_INTEGER, 'c')).state).toBe(withAB);
    expect(run(initialOtaState, desired(Number.MAX_SAFE_INTEGER, 'c')).state).toBe(initialOtaState);
    expect(run(withAB, desired(Date.UTC(2026, 0, 1), 'c')).state.phase).toBe('checking');
  });

  it('takes a generation that wants the running package without any work', () => {
    const { state, effects } = run(withAB, desired(3, 'b'));
    expect(state).toMatchObject({ phase: 'committed', generation_applied: 3 });
    expect(effects.map((e) => e.type)).toEqual(['collect']);
  });

  it('rejects without touching the running package, and says why', () => {
    const { state, effects } = run(withA, desired(2, 'b'), failed(2, 'E_OTA_HASH'));
    expect(state).toMatchObject({ phase: 'rejected', error: { code: 'E_OTA_HASH' }, active: withA.active });
    expect(effects).toMatchObject([{ type: 'cancel', generation: 2 }, { type: 'announce', action: 'rejected' }, { type: 'collect', keep: [pkg('a').digest], keep_partial: null }]);
  });

  it('never lets a failed deployment block the next one', () => {
    expect(run(withA, desired(2, 'b'), failed(2, 'E_OTA_GATE_ACCURACY'), ...install(3, 'c')).state).toMatchObject({ phase: 'committed', active: { digest: pkg('c').digest } });
  });

  it('does not try a bad generation again', () => {
    const rejected = run(withA, desired(2, 'b'), failed(2, 'E_OTA_HASH')).state;
    expect(run(rejected, desired(2, 'b')).state).toBe(rejected);
  });

  it('tries a generation again that met a passing trouble, but not for ever, and keeps what was downloaded', () => {
    const stall = (state: OtaState): OtaStep => run(state, desired(2, 'b'), failed(2, 'E_OTA_STALL'));
    const first = stall(withA);
    expect(first.effects).toContainEqual({ type: 'collect', keep: [pkg('a').digest], keep_partial: pkg('b').digest });
    const third = stall(stall(first.state).state).state;
    expect(third).toMatchObject({ phase: 'rejected', tries: 2 });
    expect(run(third, desired(2, 'b')).state).toBe(third);
  });

  it('drops the work that a newer generation overtakes, and ignores its late answers', () => {
    const { state, effects } = run(withA, desired(2, 'b'), desired(3, 'c'));
    expect(effects).toMatchObject([{ type: 'cancel', generation: 2 }, { type: 'check', candidate: { digest: pkg('c').digest } }]);
    expect(run(state, { type: 'checked', generation: 2, present: true }, failed(2, 'E_OTA_STALL')).state).toBe(state);
  });

  it('ends an installation when nothing is wanted any more', () => {
    expect(run(withA, desired(2, 'b'), desired(3, null)).state).toMatchObject({ phase: 'idle', candidate: null, active: withA.active });
  });

  it('begins the journalled step again at the start', () => {
    const events = install(2, 'b');
    const resumed = events.slice(0, 6).map((_, i) => run(withA, ...events.slice(0, i + 1), booted('clean')).effects.map((e) => e.type));
    expect(resumed).toEqual([['activate', 'check'], ['activate', 'download'], ['activate', 'verify'], ['activate', 'warm'], ['activate', 'warm'], ['activate', 'warm']]);
  });

  it('gives a package up that crashes the process that tests it, twice', () => {
    const warming = run(withA, ...install(2, 'b').slice(0, 5)).state;
    const crash: OtaEvent[] = [failed(2, 'E_OTA_GATE_CRASH'), { type: 'warming', generation: 2 }];
    expect(run(warming, ...crash).state.phase).toBe('warming');
    expect(run(warming, ...crash, ...crash).state).toMatchObject({ phase: 'rejected', error: { code: 'E_OTA_GATE_CRASH' }, active: withA.active });
  });

  it('gives a package up on which the daemon itself crashes while it opens it, twice', () => {
    const warming = run(withA, ...install(2, 'b').slice(0, 5)).state;
    const crash: OtaEvent[] = [booted('crash', pkg('b').digest), { type: 'warming', generation: 2 }];
    expect(run(warming, ...crash).state).toMatchObject({ phase: 'warming', warm_crashes: 1 });
    expect(run(warming, ...crash, ...crash).state).toMatchObject({ phase: 'rejected', error: { code: 'E_OTA_GATE_CRASH' } });
  });

  it.each(['power', 'oom', 'watchdog', 'killed'] as const)('%s in the middle of a test is no evidence: it is tested again, later each time', (ended) => {
    let state = run(withA, ...install(2, 'b').slice(0, 5)).state;
    const delays: number[] = [];
    for (let i = 0; i < 200; i++) {
      const step = run(state, booted(ended));
      delays.push(...step.effects.flatMap((e) => (e.type === 'warm' ? [e.delay_ms] : [])));
      state = run(step.state, { type: 'warming', generation: 2 }).state;
    }
    expect(delays.slice(0, 4)).toEqual([0, 1000, 2000, 4000]);
    expect(Math.max(...delays)).toBe(3_600_000);
    expect(state).toMatchObject({ phase: 'warming', interruptions: 200, error: { code: 'E_OTA_GATE_KILLED' } });
    expect(run(state, { type: 'warmed', generation: 2 }, { type: 'shadowed', generation: 2, now_ms: 1 }).state).toMatchObject({ phase: 'committed', active: { digest: pkg('b').digest } });
    expect(run(state, ...install(3, 'c')).state).toMatchObject({ phase: 'committed', error: null, active: { digest: pkg('c').digest } });
  });

  it('does not count an end in the wait between two tests', () => {
    const waiting = run(withA, ...install(2, 'b').slice(0, 5), booted('killed')).state;
    expect(waiting.phase).toBe('staged');
    expect(run(waiting, booted('killed'), booted('power')).state.interruptions).toBe(waiting.interruptions);
  });

  it('goes back after three crashes within the probation', () => {
    const crash = booted('crash');
    expect(run(withAB, crash, crash).state).toMatchObject({ active: { digest: pkg('b').digest }, probation: { crashes: 2 } });
    const { state, effects } = run(withAB, crash, crash, crash);
    expect(state).toMatchObject({ phase: 'rolled_back', active: { digest: pkg('a').digest }, previous: null, probation: null, error: { code: 'E_OTA_PROBATION' } });
    expect(effects[0]).toMatchObject({ type: 'activate', slot: { digest: pkg('a').digest } });
    expect(run(state, desired(2, 'b')).state).toBe(state);
  });

  it.each(['power', 'oom', 'watchdog', 'killed', 'clean'] as const)('never goes back for %s, however often', (ended) => {
    expect(run(withAB, ...Array<OtaEvent>(50).fill(booted(ended))).state.active?.digest).toBe(pkg('b').digest);
  });

  it('goes back after three hangs on live frames within the probation, also in the middle of another test', () => {
    const hang = booted('hang');
    expect(run(withAB, hang, hang).state).toMatchObject({ active: { digest: pkg('b').digest }, probation: { crashes: 2 } });
    expect(run(withAB, hang, booted('watchdog'), hang, hang).state).toMatchObject({ phase: 'rolled_back', active: { digest: pkg('a').digest }, error: { code: 'E_OTA_PROBATION' } });
    const testing = run(withAB, ...install(3, 'c').slice(0, 5), booted('hang', pkg('c').digest)).state;
    expect(testing).toMatchObject({ warm_crashes: 0, probation: { crashes: 1 } });
  });

  it('does not count crashes after the probation, which takes time of running and not of the clock', () => {
    expect(run(withAB, { type: 'time', up_ms: 999 }).state.probation).not.toBeNull();
    const passed = run(withAB, { type: 'time', up_ms: 1000 }).state;
    expect(passed.probation).toBeNull();
    const crash = booted('crash');
    const healthy: OtaEvent = { type: 'time', up_ms: 500 };
    expect(run(passed, crash, crash, healthy, crash, crash, healthy, crash).state.active?.digest).toBe(pkg('b').digest);
  });

  it('fetches the wanted package again when both slots are damaged, a bounded number of times', () => {
    const gone = (state: OtaState): OtaState => {
      const digest = state.active?.digest ?? '';
      return run(state, { type: 'active_failed', digest, error: { code: 'E_ACTIVE_UNUSABLE', message: '' }, now_ms: 1 }).state;
    };
    const lost = gone(gone(withAB));
    expect(lost).toMatchObject({ active: null, generation_seen: 2 });
    const again = run(lost, desired(2, 'b'));
    expect(again.effects).toMatchObject([{ type: 'check', candidate: { digest: pkg('b').digest, generation: 2 } }]);
    const healed = run(again.state, ...install(2, 'b').slice(1)).state;
    expect(healed).toMatchObject({ phase: 'committed', active: { digest: pkg('b').digest } });
    const twice = run(gone(healed), ...install(2, 'b')).state;
    expect(run(gone(twice), desired(2, 'b')).state.phase).toBe('rolled_back');
    // A package that has run well since forgets old troubles.
    expect(run(gone(run(twice, { type: 'time', up_ms: 1000 }).state), desired(2, 'b')).state.phase).toBe('checking');
  });

  it('deletes nothing after a recovery until somebody wants a package and it runs', () => {
    const recovered: OtaState = { ...initialOtaState, phase: 'committed', active: withA.active, generation_seen: 1, generation_applied: 1, keep_all: true };
    const collects = (...events: OtaEvent[]): boolean => run(recovered, ...events).effects.some((e) => e.type === 'collect');
    expect(collects(booted('killed'))).toBe(false);
    expect(collects(desired(2, 'b'), failed(2, 'E_OTA_HASH'))).toBe(false);
    expect(collects(...install(2, 'b'))).toBe(true);
    const adopted = run({ ...initialOtaState, keep_all: true }, { type: 'install', package: pkg('a') }, ...install(0, 'a').slice(1));
    expect(adopted.state).toMatchObject({ phase: 'committed', keep_all: true });
    expect(adopted.effects.some((e) => e.type === 'collect')).toBe(false);
  });

  it('lives without any package when the first one fails', () => {
    const { state } = run(withA, { type: 'active_failed', digest: pkg('a').digest, error: { code: 'E_ACTIVE_UNUSABLE', message: '' }, now_ms: 1 });
    expect(state).toMatchObject({ active: null, phase: 'rolled_back' });
    expect(run(state, ...install(2, 'b')).state.active?.digest).toBe(pkg('b').digest);
  });

  it('lets an installation go on when the active package fails meanwhile', () => {
    const { state } = run(withAB, ...install(3, 'c').slice(0, 3), { type: 'active_failed', digest: pkg('b').digest, error: { code: 'E_ACTIVE_UNUSABLE', message: '' }, now_ms: 1 });
    expect(state).toMatchObject({ phase: 'verifying', active: { digest: pkg('a').digest } });
    expect(run(state, ...install(3, 'c').slice(3)).state.active?.digest).toBe(pkg('c').digest);
  });

  it('rolls back on request, and only when there is something to go back to', () => {
    expect(run(withAB, { type: 'rollback', now_ms: 1 }).state).toMatchObject({ phase: 'rolled_back', active: { digest: pkg('a').digest }, previous: null });
    expect(run(withA, { type: 'rollback', now_ms: 1 }).state).toBe(withA);
  });
});

const generation = fc.integer({ min: 1, max: 4 });
const letter = fc.constantFrom('a', 'b', 'c');
const eventArbitrary: fc.Arbitrary<OtaEvent> = fc.oneof(
  fc.tuple(generation, fc.option(letter)).map(([g, l]) => desired(g, l)),
  letter.map((l): OtaEvent => ({ type: 'install', package: pkg(l) })),
  fc.tuple(generation, fc.boolean()).map(([g, present]): OtaEvent => ({ type: 'checked', generation: g, present })),
  fc.tuple(generation, fc.constantFrom('downloaded' as const, 'verified' as const, 'warming' as const, 'warmed' as const)).map(([g, type]): OtaEvent => ({ type, generation: g })),
  fc.tuple(generation, fc.nat(3000)).map(([g, now]): OtaEvent => ({ type: 'shadowed', generation: g, now_ms: now })),
  fc.tuple(generation, fc.constantFrom('E_OTA_STALL', 'E_OTA_HASH', 'E_DISK_FULL', 'E_OTA_GATE_CRASH', 'E_OTA_GATE_KILLED')).map(([g, code]) => failed(g, code)),
  fc.tuple(fc.constantFrom('clean' as const, 'power' as const, 'killed' as const, 'crash' as const), fc.option(letter)).map(([ended, l]) => booted(ended, l === null ? null : pkg(l).digest)),
  fc.nat(3000).map((up): OtaEvent => ({ type: 'time', up_ms: up })),
  letter.map((l): OtaEvent => ({ type: 'active_failed', digest: pkg(l).digest, error: { code: 'E_ACTIVE_UNUSABLE', message: '' }, now_ms: 1 })),
  fc.nat(3000).map((now): OtaEvent => ({ type: 'rollback', now_ms: now })),
);

describe('after any sequence of events', () => {
  it('the active package is one that passed every step, and the slots are distinct', () => {
    fc.assert(fc.property(fc.array(eventArbitrary, { maxLength: 60 }), (events) => {
      let state: OtaState = initialOtaState;
      const accepted = new Set<string>();
      for (const event of events) {
        const { state: next, effects } = stepOta(state, event, limits);
        if (next.phase === 'committed' && event.type === 'shadowed' && next !== state) {
          expect(state.phase).toBe('shadow');
          accepted.add(next.active?.digest ?? '');
        }
        if (next.active !== null) expect(accepted).toContain(next.active.digest);
        if (next.previous !== null) expect(next.previous.digest).not.toBe(next.active?.digest);
        if (isBusy(next)) expect(next.candidate).not.toBeNull();
        expect(next.generation_seen ?? 0).toBeGreaterThanOrEqual(state.generation_seen ?? 0);
        // The running pipeline changes exactly when the journalled pointer does (or at a start).
        const moved = next.active?.digest !== state.active?.digest;
        const effect = effects.some((e) => e.type === 'switch' || e.type === 'activate');
        if (moved) expect(effect).toBe(true);
        for (const e of effects) {
          if (e.type !== 'collect') continue;
          for (const slot of [next.active, next.previous]) if (slot !== null) expect(e.keep).toContain(slot.digest);
        }
        state = next;
      }
    }), { numRuns: 500 });
  });

  it('a later good deployment succeeds', () => {
    fc.assert(fc.property(fc.array(eventArbitrary, { maxLength: 60 }), (events) => {
      const { state } = run(initialOtaState, ...events);
      expect(run(state, ...install(9, 'd')).state).toMatchObject({ phase: 'committed', active: { digest: pkg('d').digest }, generation_applied: 9 });
    }));
  });

  it('every number of restarts comes to rest or goes on with the same candidate', () => {
    fc.assert(fc.property(fc.array(eventArbitrary, { maxLength: 40 }), (events) => {
      const { state } = run(initialOtaState, ...events);
      const again = run(state, booted('clean')).state;
      expect(again.active).toEqual(state.active);
      if (isBusy(again)) expect(again.candidate).toEqual(state.candidate);
      expect(run(again, booted('clean')).state).toEqual(again);
    }));
  });
});

describe('starts that fail', () => {
  const proven = { ...withAB, probation: null };

  it('OTA-087: three in a row lead back to the package before, also after its probation and without the network', () => {
    expect(crashes(proven, 2).state).toMatchObject({ failed_starts: 2, active: { digest: pkg('b').digest } });
    const back = crashes(proven, 3);
    expect(back.state).toMatchObject({ phase: 'rolled_back', error: { code: 'E_OTA_STARTS' }, active: { digest: pkg('a').digest }, previous: null, failed_starts: 0 });
    expect(back.effects[0]).toMatchObject({ type: 'activate', slot: { digest: pkg('a').digest } });
  });

  it('OTA-087: and three more to the factory package, which is the last one', () => {
    const last = crashes(crashes(proven, 3).state, 3, { factory });
    expect(last.state).toMatchObject({ active: { digest: factory.digest }, previous: null, error: { code: 'E_OTA_STARTS' } });
    // It is still better than none.
    expect(crashes(last.state, 9, { factory }).state).toMatchObject({ active: { digest: factory.digest } });
    expect(crashes({ ...withA, probation: null }, 9).state).toMatchObject({ active: { digest: pkg('a').digest } });
  });

  it('are forgotten when the package has run for a while, or ended in order; a kill or a power cut neither counts nor forgets', () => {
    const two = crashes(proven, 2).state;
    expect(run(two, { type: 'time', up_ms: 499 }).state.failed_starts).toBe(2);
    expect(run(two, { type: 'time', up_ms: 500 }).state.failed_starts).toBe(0);
    expect(run(two, booted('clean')).state.failed_starts).toBe(0);
    for (const ended of ['kill', 'power'] as RunEnd[]) expect(run(two, booted(ended)).state.failed_starts).toBe(2);
  });

  it('OTA-088: a device without any other package runs the factory package, and a failing one gives way to it', () => {
    const fresh = stepOta(initialOtaState, booted('clean'), { ...limits, factory });
    expect(fresh.state).toMatchObject({ phase: 'idle', active: { digest: factory.digest }, probation: null });
    expect(fresh.effects).toMatchObject([{ type: 'activate', slot: { digest: factory.digest } }, { type: 'announce', action: 'activated' }, { type: 'collect' }]);
    const broken = stepOta(withA, { type: 'active_failed', digest: pkg('a').digest, error: { code: 'E_ACTIVE_UNUSABLE', message: '' }, now_ms: 1 }, { ...limits, factory });
    expect(broken.state.active?.digest).toBe(factory.digest);
    const asked = stepOta(withA, { type: 'rollback', now_ms: 1 }, { ...limits, factory });
    expect(asked.state).toMatchObject({ active: { digest: factory.digest }, error: { code: 'E_OTA_ROLLBACK' } });
  });
});
