import { existsSync, readdirSync, readFileSync, rmSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Finding } from '../../../runtime/pipeline/types.js';
import { encodeBlock } from '../../../agent/contracts/index.js';
import { commandActions } from '../../../agent/commands/actions.js';
import { InferenceLoop } from '../../../agent/inference/loop.js';
import type { OtaOptions } from '../../../agent/ota/parts.js';
import { decodePointer } from '../../../agent/ota/stored-state.js';
import { systemClock } from '../../../agent/platform/clock.js';
import { Bench, honest, options, type Answer } from '../support/update-bench.js';
import { testRules } from '../support/update-rules.js';
import { packageBytes, type FakePackage } from '../support/fake-runtime.js';
import { answerRequest } from '../support/publisher.js';
import { desiredPackage, quietLog, temporaryFolder, until } from '../support/tools.js';

const one: FakePackage = { name: 'faces', version: '1.0.0', padding: 5000 };
const two: FakePackage = { name: 'faces', version: '2.0.0', padding: 7000 };
const [oneBytes, twoBytes] = [packageBytes(one), packageBytes(two)];

async function deployed(...fakes: FakePackage[]): Promise<Bench> {
  const bench = new Bench(temporaryFolder(), fakes.map(packageBytes));
  await bench.manager.start();
  for (const [i, fake] of fakes.entries()) {
    bench.announcements.length = 0;
    bench.manager.desire({ generation: i + 1, package: desiredPackage(fake, packageBytes(fake)) });
    await bench.settle(i + 1);
  }
  return bench;
}

describe('a deployment', () => {
  it('arrives in blocks, is verified, tested, and takes the place of the old package', async () => {
    const bench = await deployed(one, two);
    expect(bench.manager.state).toMatchObject({ phase: 'committed', active: { version: '2.0.0' }, previous: { version: '1.0.0' } });
    expect(bench.slot.running?.slot.version).toBe('2.0.0');
    expect(bench.runtime.open).toBe(1);
    expect(readdirSync(join(bench.folder, 'packages')).sort()).toEqual([desiredPackage(one, oneBytes).digest, desiredPackage(two, twoBytes).digest].map((d) => `${d}.sterna`).sort());
    expect(bench.journal.transitions().map((t) => t.phase)).toEqual([...PHASES, ...PHASES]);
  });

  it('is in place before a command tests what runs, although its state was known before', async () => {
    const bench = new Bench(temporaryFolder(), [oneBytes]);
    await bench.manager.start();
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => { release = resolve; });
    bench.beforeSwitch = () => held;
    bench.manager.desire({ generation: 1, package: desiredPackage(one, oneBytes) });
    await until('it is committed', () => bench.manager.state.phase === 'committed');
    expect(bench.slot.running).toBeNull();
    const actions = commandActions({ pipeline: () => ({ slot: bench.slot, ota: bench.manager }), reporter: { rebirth: () => Promise.resolve() }, birth: () => Promise.resolve(), log: quietLog });
    const tested = Promise.all([actions['self-test']({}), actions.bench({})]);
    release();
    expect(await tested).toMatchObject([{ version: '1.0.0', golden_failed: 0 }, { version: '1.0.0' }]);
  });

  it('asks for at most a window of blocks', async () => {
    const bench = await deployed(one);
    for (const request of bench.requests) expect(request.window).toBeLessThanOrEqual(options.window);
    expect(bench.requests.length).toBeGreaterThan(2);
  });

  it('survives lost, damaged, repeated and unasked blocks', async () => {
    const bench = new Bench(temporaryFolder(), [], { stallMs: 60, maxStalls: 100 });
    let n = 0;
    bench.answer = (request, send) => {
      for (const { index, message } of answerRequest(request, oneBytes)) {
        n += 1;
        if (n % 5 === 0) continue;
        if (n % 7 === 0) message.writeUInt8(message.readUInt8(20) ^ 1, 20);
        send(index, message);
        if (n % 3 === 0) send(index, message);
      }
      send(3, Buffer.from('hostile'));
    };
    await bench.manager.start();
    bench.manager.desire({ generation: 1, package: desiredPackage(one, oneBytes) });
    await bench.settle(1);
    expect(bench.manager.state.phase).toBe('committed');
  });
});

/** Where stalls are the matter; elsewhere a busy machine must not cause one. */
const quickStalls: Partial<OtaOptions> = { stallMs: 60 };
const PHASES = ['checking', 'downloading', 'verifying', 'staged', 'warming', 'shadow', 'committed'];

describe('files that no slot needs', () => {
  it('are deleted without harm to a candidate that begins meanwhile', async () => {
    const bench = new Bench(temporaryFolder(), [oneBytes, twoBytes]);
    await bench.manager.start();
    let letGo = false;
    bench.beforeCollect = () => until('let go', () => letGo);
    bench.manager.desire({ generation: 1, package: desiredPackage(one, oneBytes) });
    await until('running', () => bench.slot.running?.slot.version === '1.0.0');
    bench.manager.desire({ generation: 2, package: desiredPackage(two, twoBytes) });
    await until('begun', () => bench.manager.state.generation_seen === 2);
    await sleep(200); // for a download that does not wait
    letGo = true;
    await until('the switch', () => bench.slot.running?.slot.version === '2.0.0');
    await bench.manager.stop();
    expect(readdirSync(join(bench.folder, 'packages'))).toHaveLength(2);
  });

  it('are deleted without harm to a package that became active after the decision to delete', async () => {
    const bench = new Bench(temporaryFolder(), [oneBytes, twoBytes]);
    await bench.manager.start();
    let letGo = false;
    bench.beforeSwitch = () => until('let go', () => letGo);
    bench.manager.desire({ generation: 1, package: desiredPackage(one, oneBytes) });
    await until('committed', () => bench.manager.state.active?.version === '1.0.0');
    bench.manager.desire({ generation: 2, package: desiredPackage(two, twoBytes) });
    await until('committed', () => bench.manager.state.active?.version === '2.0.0');
    letGo = true;
    await until('the switch', () => bench.slot.running?.slot.version === '2.0.0');
    await bench.manager.stop();
    expect(readdirSync(join(bench.folder, 'packages'))).toHaveLength(2);
  });
});

describe('a bad deployment leaves the running package, with a code', () => {
  const cases: { title: string; code: string; fake?: Partial<FakePackage>; answer?: Answer; over?: Partial<OtaOptions>; size?: number }[] = [
    { title: 'golden vectors fail', code: 'E_OTA_GATE_ACCURACY', fake: { golden: false } },
    { title: 'too much memory', code: 'E_OTA_GATE_MEMORY', fake: { memory: 20_000 } },
    { title: 'too slow', code: 'E_OTA_GATE_LATENCY', fake: { p99: 99 } },
    { title: 'too much energy', code: 'E_OTA_GATE_ENERGY', fake: { joules: 3 } },
    { title: 'no golden vectors', code: 'E_OTA_GATE_GOLDEN', fake: { golden: null } },
    { title: 'opening never ends', code: 'E_OTA_GATE_TIMEOUT', fake: { hangs: true }, over: { openTimeoutMs: 50 } },
    { title: 'larger than allowed', code: 'E_OTA_SIZE', fake: { padding: 9000 }, over: { maxPackageBytes: 8000 } },
    { title: 'nobody answers', code: 'E_OTA_STALL', over: quickStalls, answer: () => undefined },
    { title: 'the other end has none', code: 'E_OTA_UNAVAILABLE', answer: (_, send) => send(0, encodeBlock({ index: 0, last: true, unavailable: true, payload: new Uint8Array(0) })) },
    { title: 'endless data', code: 'E_OTA_SIZE', answer: (request, send) => send(request.first_block, encodeBlock({ index: request.first_block, last: false, payload: new Uint8Array(257) })) },
    { title: 'wrong content', code: 'E_OTA_HASH', answer: (request, send) => { for (const { index, message } of answerRequest(request, Buffer.alloc(packageBytes(bad({})).length))) send(index, message); } },
    { title: 'only damaged blocks', code: 'E_OTA_BLOCK', over: { maxStalls: 1000, stallMs: 5 }, answer: (request, send) => { for (let i = 0; i < 8; i++) send(request.first_block, Buffer.alloc(64)); } },
  ];
  function bad(fake: Partial<FakePackage>): FakePackage {
    return { name: 'faces', version: '3.0.0', padding: 6000, ...fake };
  }

  it.each(cases)('$title: $code', async ({ code, fake, answer, over }) => {
    const folder = temporaryFolder();
    const wanted = bad(fake ?? {});
    const bytes = packageBytes(wanted);
    const bench = new Bench(folder, [oneBytes, bytes], over);
    await bench.manager.start();
    bench.manager.desire({ generation: 1, package: desiredPackage(one, oneBytes) });
    await bench.settle(1);
    bench.announcements.length = 0;
    if (answer !== undefined) bench.answer = answer;
    bench.manager.desire({ generation: 2, package: desiredPackage(wanted, bytes) });
    await bench.settle(2);
    expect(bench.manager.state).toMatchObject({ phase: 'rejected', error: { code }, active: { version: '1.0.0' } });
    expect(bench.slot.running?.slot.version).toBe('1.0.0');
    // And the next one is not blocked.
    bench.answer = honest([twoBytes]);
    bench.announcements.length = 0;
    bench.manager.desire({ generation: 3, package: desiredPackage(two, twoBytes) });
    await bench.settle(3);
    expect(bench.manager.state).toMatchObject({ phase: 'committed', active: { version: '2.0.0' } });
    await until('only the running pipeline is open', () => bench.runtime.open === 1);
  });

  it('a package without golden vectors is installed when a setting allows it, and the limits of the device hold', async () => {
    const bare: FakePackage = { name: 'faces', version: '3.0.0', golden: null };
    const bench = new Bench(temporaryFolder(), [packageBytes(bare), twoBytes]);
    await bench.manager.start();
    bench.rules = { ...testRules, gate: { allow_without_golden: true } };
    bench.manager.desire({ generation: 1, package: desiredPackage(bare, packageBytes(bare)) });
    await bench.settle(1);
    expect(bench.manager.state).toMatchObject({ phase: 'committed', active: { version: '3.0.0' } });
    bench.rules = { ...testRules, gate: { allow_without_golden: false, ram_bytes: 500 } };
    bench.announcements.length = 0;
    bench.manager.desire({ generation: 2, package: desiredPackage(two, twoBytes) });
    await bench.settle(2);
    expect(bench.manager.state).toMatchObject({ phase: 'rejected', error: { code: 'E_OTA_LIMIT_MEMORY' }, active: { version: '3.0.0' } });
  });

  it('OTA-089: another embedding space than that of the enrolled people, unless the package plans for them: E_OTA_GATE_SPACE', async () => {
    const other: FakePackage = { ...two, space: 'space-2' };
    const planned: FakePackage = { ...other, version: '3.0.0', plan: 'enroll' };
    const bench = await deployed(one);
    bench.runtime.gallery.enrol('Ada', [new Float32Array(4)], 'space-1');
    bench.answer = honest([other, planned, two].map(packageBytes));
    for (const [i, [fake, expected]] of ([[other, { phase: 'rejected', error: { code: 'E_OTA_GATE_SPACE' }, active: { version: '1.0.0' } }], [planned, { phase: 'committed', active: { version: '3.0.0' } }]] as const).entries()) {
      bench.announcements.length = 0;
      bench.manager.desire({ generation: i + 2, package: desiredPackage(fake, packageBytes(fake)) });
      await bench.settle(i + 2);
      expect(bench.manager.state).toMatchObject(expected);
    }
  });

  it('a file that is another package than announced: E_OTA_PACKAGE', async () => {
    const bench = new Bench(temporaryFolder(), [oneBytes]);
    await bench.manager.start();
    bench.manager.desire({ generation: 1, package: { ...desiredPackage(one, oneBytes), version: '9.9.9' } });
    await bench.settle(1);
    expect(bench.manager.state).toMatchObject({ phase: 'rejected', error: { code: 'E_OTA_PACKAGE' }, active: null });
  });

  it('bytes that are no package: E_OTA_PACKAGE', async () => {
    const bytes = Buffer.alloc(3000, 1);
    const bench = new Bench(temporaryFolder(), [bytes]);
    await bench.manager.start();
    bench.manager.desire({ generation: 1, package: desiredPackage(one, bytes) });
    await bench.settle(1);
    expect(bench.manager.state).toMatchObject({ phase: 'rejected', error: { code: 'E_OTA_PACKAGE' } });
    await until('deleted', () => readdirSync(join(bench.folder, 'packages')).length === 0);
  });
});

describe('a new package beside the serving one', () => {
  const sees = (label: string): Finding => ({ type: 'detection', label, score: 1, box: [0, 0, 10, 10] });

  /** A device with a camera that runs the first, and is offered the second. */
  async function offered(second: FakePackage): Promise<Bench> {
    const bench = await deployed(one);
    bench.runtime.findings = [sees('face')];
    bench.camera = true;
    const loop = new InferenceLoop(bench.slot, systemClock(), { input: '/camera', live: true, open: (signal) => bench.runtime.openSource({ input: '/camera', fps: undefined, loop: true, realtime: true, maxSide: undefined, stallMs: 1000, signal }) }, {
      onFrame: (processed) => bench.manager.offer(processed), onIdleFrame: () => undefined, onPipelineError: () => undefined, onCamera: () => undefined,
    });
    loop.start();
    onTestFinished(() => loop.stop());
    bench.answer = honest([packageBytes(second)]);
    bench.announcements.length = 0;
    bench.manager.desire({ generation: 2, package: desiredPackage(second, packageBytes(second)) });
    await bench.settle(2);
    return bench;
  }

  it('takes its place when both find the same', async () => {
    const bench = await offered(two);
    expect(bench.manager.state).toMatchObject({ phase: 'committed', active: { version: '2.0.0' } });
    expect(bench.manager.shadow).toMatchObject({ state: 'passed', samples: 5, agreement: { boxes: 1 } });
    expect(bench.runtime.shadows).toBe(0);
  });

  it('is refused when it finds something else, and the serving one goes on', async () => {
    const bench = await offered({ ...two, sees: [sees('hat')] });
    expect(bench.manager.state).toMatchObject({ phase: 'rejected', error: { code: 'E_OTA_SHADOW_AGREEMENT' }, active: { version: '1.0.0' } });
    expect(bench.manager.shadow).toMatchObject({ state: 'failed', agreement: { boxes: 0 } });
    expect(bench.slot.running?.slot.version).toBe('1.0.0');
    expect([bench.runtime.shadows, bench.runtime.open]).toEqual([0, 1]);
  });

  it('is refused when its process keeps ending on frames', async () => {
    const bench = await offered({ ...two, shadowCrashes: true });
    expect(bench.manager.state).toMatchObject({ phase: 'rejected', error: { code: 'E_OTA_GATE_CRASH' }, active: { version: '1.0.0' } });
  });

  it('gives way to a newer generation at once', async () => {
    const bench = await deployed(one);
    bench.camera = true; // of which no frame comes
    bench.answer = honest([oneBytes, twoBytes]);
    bench.manager.desire({ generation: 2, package: desiredPackage(two, twoBytes) });
    await until('beside the serving one', () => bench.runtime.shadows === 1);
    bench.announcements.length = 0;
    bench.manager.desire({ generation: 3, package: null });
    await until('ended', () => bench.runtime.shadows === 0);
    expect(bench.manager.state).toMatchObject({ phase: 'idle', active: { version: '1.0.0' } });
  });
});

describe('the probation', () => {
  /** A device with a camera on which the second package has just taken the place of the first. */
  async function switched(second: FakePackage = two): Promise<Bench> {
    const bench = await deployed(one, second);
    const loop = new InferenceLoop(bench.slot, systemClock(), { input: '/camera', live: true, open: (signal) => bench.runtime.openSource({ input: '/camera', fps: undefined, loop: true, realtime: true, maxSide: undefined, stallMs: 1000, signal }) }, {
      onFrame: (processed) => bench.manager.offer(processed), onIdleFrame: () => undefined, onPipelineError: (running) => bench.manager.frameFailed(running), onCamera: () => undefined,
    });
    loop.start();
    onTestFinished(() => loop.stop());
    return bench;
  }

  it('OTA-086: a package that breaks a rule gives way to the one before, whose frames go on', async () => {
    const bench = await switched();
    bench.rules = { ...testRules, gate: { p99_ms: 0.001, allow_without_golden: false } };
    await until('the one before runs', () => bench.slot.running?.slot.version === '1.0.0');
    expect(bench.manager.state).toMatchObject({ phase: 'rolled_back', error: { code: 'E_OTA_PROBATION_LATENCY' }, active: { version: '1.0.0' }, probation: null });
    await until('frames', () => (bench.slot.running?.frames ?? 0) > 30);
    expect(bench.manager.state.active?.version).toBe('1.0.0'); // it is not within a probation
  });

  it('OTA-086: so does one that fails on frames, and one that heats the processor', async () => {
    const failing = await switched({ ...two, fails: true });
    await until('the one before runs', () => failing.slot.running?.slot.version === '1.0.0');
    expect(failing.manager.state.error?.code).toBe('E_OTA_PROBATION_ERRORS');
    const hot = await switched();
    hot.rules = { ...testRules, probation: { ...testRules.probation, throttled_ms: 1 } };
    await sleep(1200); // a look at which it is cool
    hot.hot = true;
    await until('the one before runs', () => hot.slot.running?.slot.version === '1.0.0');
    expect(hot.manager.state.error?.code).toBe('E_OTA_PROBATION_HEAT');
  });
});

describe('the factory package', () => {
  const factoryFake: FakePackage = { name: 'faces', version: '0.1.0', padding: 10 };

  function factoryFile(): string {
    const path = join(temporaryFolder(), 'factory.sterna');
    writeFileSync(path, packageBytes(factoryFake), { mode: 0o400 });
    return path;
  }

  it('OTA-088: runs on a device that has no other, stays where it is, and is never changed or deleted', async () => {
    const factory = factoryFile();
    const bench = new Bench(temporaryFolder(), [oneBytes, twoBytes], { factory });
    await bench.manager.start();
    expect(bench.slot.running?.slot.version).toBe('0.1.0');
    for (const [i, fake] of [one, two].entries()) {
      bench.announcements.length = 0;
      bench.manager.desire({ generation: i + 1, package: desiredPackage(fake, packageBytes(fake)) });
      await bench.settle(i + 1);
    }
    await bench.end();
    expect(readFileSync(factory)).toEqual(packageBytes(factoryFake));
    expect(readdirSync(join(bench.folder, 'packages'))).toHaveLength(2);
    // Both packages are damaged: without the network the device runs what it was made with.
    for (const name of readdirSync(join(bench.folder, 'packages'))) writeFileSync(join(bench.folder, 'packages', name), 'rotten');
    const again = new Bench(bench.folder, [], { factory });
    await again.manager.start();
    expect(again.slot.running?.slot.version).toBe('0.1.0');
    expect(again.manager.state).toMatchObject({ phase: 'rolled_back', error: { code: 'E_ACTIVE_UNUSABLE' }, previous: null });
  });

  it('OTA-088: that is missing or damaged is a fault, and nothing else', async () => {
    const bench = new Bench(temporaryFolder(), [oneBytes], { factory: join(temporaryFolder(), 'none.sterna') });
    await bench.manager.start();
    expect(bench.faults).toEqual(['E_OTA_FACTORY']);
    bench.manager.desire({ generation: 1, package: desiredPackage(one, oneBytes) });
    await bench.settle(1);
    expect(bench.slot.running?.slot.version).toBe('1.0.0');
    const damaged = factoryFile();
    const other = new Bench(temporaryFolder(), [], { factory: damaged });
    await other.manager.start();
    await other.end();
    rmSync(damaged);
    writeFileSync(damaged, 'rotten');
    const later = new Bench(other.folder, [], { factory: damaged });
    await later.manager.start();
    expect(later.faults).toContain('E_OTA_FACTORY');
    expect(readFileSync(damaged, 'utf8')).toBe('rotten');
  });

  it('OTA-087: three starts that crash lead to it, without the network', async () => {
    const factory = factoryFile();
    const bench = new Bench(temporaryFolder(), [oneBytes], { factory });
    await bench.manager.start();
    bench.manager.desire({ generation: 1, package: desiredPackage(one, oneBytes) });
    await bench.settle(1);
    await bench.end();
    const versions: (string | undefined)[] = [];
    for (let i = 0; i < 3; i++) {
      const next = new Bench(bench.folder, [], { factory }, { ended: 'crash' });
      next.connected = false;
      await next.manager.start();
      versions.push(next.slot.running?.slot.version);
      await next.end();
    }
    expect(versions).toEqual(['1.0.0', '1.0.0', '0.1.0']);
  });
});

describe('a restart', () => {
  it('goes on with the blocks that are on the disk', async () => {
    const folder = temporaryFolder();
    const first = new Bench(folder, []);
    const big: FakePackage = { name: 'faces', version: '4.0.0', padding: 20_000 };
    const bytes = packageBytes(big);
    first.answer = (request, send) => { for (const { index, message } of answerRequest(request, bytes)) if (index < 40) send(index, message); };
    await first.manager.start();
    first.manager.desire({ generation: 1, package: desiredPackage(big, bytes) });
    await until('40 blocks', () => first.requests.some((r) => r.first_block >= 40));
    await first.end();
    const second = new Bench(folder, [bytes]);
    await second.manager.start();
    await second.settle(1);
    expect(second.manager.state.phase).toBe('committed');
    expect(Math.min(...second.requests.map((r) => r.first_block))).toBe(40);
  });

  it('runs the active package again, and falls back when its file is damaged', async () => {
    const first = await deployed(one, two);
    await first.end();
    const again = new Bench(first.folder, []);
    await again.manager.start();
    expect(again.slot.running?.slot.version).toBe('2.0.0');
    await again.end();
    writeFileSync(join(first.folder, 'packages', `${desiredPackage(two, twoBytes).digest}.sterna`), 'rotten');
    const fallen = new Bench(first.folder, []);
    await fallen.manager.start();
    expect(fallen.slot.running?.slot.version).toBe('1.0.0');
    expect(fallen.manager.state).toMatchObject({ phase: 'rolled_back', error: { code: 'E_ACTIVE_UNUSABLE' } });
    expect(fallen.faults).toEqual(['E_ACTIVE_UNUSABLE']);
  });

  it('does not give a package up because the machine lacks something', async () => {
    const first = await deployed(one);
    await first.end();
    const again = new Bench(first.folder, []);
    again.runtime.openModel = () => Promise.reject(Object.assign(new Error('no addon'), { code: 'ENOENT' }));
    await again.manager.start();
    expect(again.manager.state.active?.version).toBe('1.0.0');
    expect(again.slot.running).toBeNull();
    expect(again.faults).toHaveLength(1);
  });

  it('begins a download anew when the partial file is gone', async () => {
    const folder = temporaryFolder();
    const wanted = desiredPackage(one, oneBytes);
    const bench = new Bench(folder, [oneBytes]);
    bench.journal.saveProgress({ digest: wanted.digest, size_bytes: wanted.size_bytes, block_bytes: wanted.block_bytes, bitmap: Buffer.from([255, 255, 255]) });
    await bench.manager.start();
    bench.manager.desire({ generation: 1, package: wanted });
    await bench.settle(1);
    expect(bench.manager.state.phase).toBe('committed');
    expect(bench.requests[0]?.first_block).toBe(0);
  });

  it('rejects, and fetches again, a partial file that was cut', async () => {
    const folder = temporaryFolder();
    const wanted = desiredPackage(one, oneBytes);
    const bench = new Bench(folder, [oneBytes]);
    await bench.manager.start();
    const part = join(folder, 'packages', `${wanted.digest}.part`);
    writeFileSync(part, oneBytes);
    truncateSync(part, 300);
    bench.journal.saveProgress({ digest: wanted.digest, size_bytes: wanted.size_bytes, block_bytes: wanted.block_bytes, bitmap: Buffer.from([255, 255, 255]) });
    bench.manager.desire({ generation: 1, package: wanted });
    await bench.settle(1);
    expect(bench.manager.state).toMatchObject({ phase: 'rejected', error: { code: 'E_OTA_SIZE' } });
    bench.manager.desire({ generation: 2, package: wanted });
    await until('committed', () => bench.manager.state.phase === 'committed');
    expect(existsSync(part)).toBe(false);
  });
});

describe('what runs on the device is known twice', () => {
  it('a journal that cannot be read costs nothing: the second copy says what runs, and no package is deleted', async () => {
    const first = await deployed(one, two);
    first.db.prepare("UPDATE deployment SET json = '{' WHERE pipeline = 'main'").run();
    await first.end();
    const again = new Bench(first.folder, []);
    await again.manager.start();
    expect(again.slot.running?.slot.version).toBe('2.0.0');
    expect(again.manager.state.previous?.version).toBe('1.0.0');
    expect(again.faults).toEqual(['E_STATE_RECOVERED']);
    expect(readdirSync(join(first.folder, 'packages'))).toHaveLength(2);
    expect(again.db.prepare("SELECT json FROM unread WHERE key = 'deployment/main'").get()).toEqual({ json: '{' });
  });

  it('a kill in the middle of writing the second copy leaves no file for ever', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'slots.json.7.1.tmp'), '{');
    const bench = new Bench(folder, []);
    await bench.manager.start();
    expect(readdirSync(folder).filter((name) => name.includes('.tmp'))).toEqual([]);
  });

  it('a renewed state.db costs nothing either', async () => {
    const first = await deployed(one, two);
    await first.end();
    for (const suffix of ['', '-wal', '-shm']) rmSync(join(first.folder, `state.db${suffix}`), { force: true });
    const again = new Bench(first.folder, []);
    await again.manager.start();
    expect(again.slot.running?.slot.version).toBe('2.0.0');
    expect(again.manager.state).toMatchObject({ generation_seen: 2, previous: { version: '1.0.0' } });
    expect(again.faults).toEqual(['E_STATE_RECOVERED']);
  });

  it('without both copies the packages in the store are tested again, and the first good one runs', async () => {
    const first = await deployed(one, two);
    await first.end();
    for (const name of ['state.db', 'state.db-wal', 'state.db-shm', 'slots.json']) rmSync(join(first.folder, name), { force: true });
    const digest = desiredPackage(two, twoBytes).digest;
    const newer = new Date(Date.now() + 60_000);
    writeFileSync(join(first.folder, 'packages', `${digest}.sterna`), 'rotten');
    utimesSync(join(first.folder, 'packages', `${digest}.sterna`), newer, newer);
    const again = new Bench(first.folder, [twoBytes]);
    await again.manager.start();
    await until('adopted', () => again.slot.running?.slot.version === '1.0.0');
    expect(again.faults).toEqual(['E_STATE_RECOVERED']);
    again.manager.desire({ generation: 2, package: desiredPackage(two, twoBytes) });
    await until('updated', () => again.slot.running?.slot.version === '2.0.0');
  });

  it('a damaged second copy is written anew', async () => {
    const first = await deployed(one);
    await first.end();
    const path = join(first.folder, 'slots.json');
    writeFileSync(path, readFileSync(path, 'utf8').replace('1.0.0', '1.0.1'));
    const again = new Bench(first.folder, []);
    await again.manager.start();
    expect(again.slot.running?.slot.version).toBe('1.0.0');
    expect(again.faults).toEqual(['E_STATE_RECOVERED']);
    expect(decodePointer(readFileSync(path, 'utf8'))).toMatchObject({ kind: 'sound', value: { active: { version: '1.0.0' } } });
  });

  it('a journal of a newer version is kept aside and not taken for an empty one', async () => {
    const first = await deployed(one);
    first.db.prepare("UPDATE deployment SET json = json_set(json, '$.version', 99) WHERE pipeline = 'main'").run();
    await first.end();
    const again = new Bench(first.folder, []);
    await again.manager.start();
    expect(again.slot.running?.slot.version).toBe('1.0.0');
    expect(again.faults).toEqual(['E_STATE_RECOVERED']);
  });

  it('a wrong size in `desired` deletes no package', async () => {
    const bench = await deployed(one, two);
    bench.manager.desire({ generation: 3, package: { ...desiredPackage(one, oneBytes), size_bytes: 300 } });
    await until('rejected', () => bench.manager.state.phase === 'rejected');
    await bench.manager.rollback();
    await until('back', () => bench.slot.running?.slot.version === '1.0.0');
  });

  it('a retained `desired` heals a device whose packages are both damaged', async () => {
    const first = await deployed(one, two);
    await first.end();
    for (const name of readdirSync(join(first.folder, 'packages'))) writeFileSync(join(first.folder, 'packages', name), 'rotten');
    const again = new Bench(first.folder, [twoBytes]);
    await again.manager.start();
    expect(again.slot.running).toBeNull();
    again.manager.desire({ generation: 2, package: desiredPackage(two, twoBytes) });
    await until('healed', () => again.slot.running?.slot.version === '2.0.0');
  });
});

describe('a test of a candidate that goes wrong', () => {
  it.each([
    { title: 'crashes its process', fake: { crashes: true }, code: 'E_OTA_GATE_CRASH' },
    { title: 'never comes back', fake: { spins: true }, code: 'E_OTA_GATE_TIMEOUT', limits: { timeoutMs: 5000, memoryBytes: 200_000_000 } },
    { title: 'eats memory', fake: { eats: true }, code: 'E_OTA_GATE_MEMORY' },
  ])('$title: $code, and nothing of it is left', async ({ fake, code, limits }) => {
    const bench = await deployed(one);
    const pidFile = join(bench.folder, 'pid');
    bench.runtime.candidatePidFile = pidFile;
    if (limits !== undefined) bench.limits = limits;
    const bad: FakePackage = { name: 'faces', version: '3.0.0', padding: 500, ...fake };
    bench.answer = honest([packageBytes(bad)]);
    bench.announcements.length = 0;
    bench.manager.desire({ generation: 2, package: desiredPackage(bad, packageBytes(bad)) });
    await bench.settle(2);
    expect(bench.manager.state).toMatchObject({ phase: 'rejected', error: { code }, active: { version: '1.0.0' } });
    const pid = Number(readFileSync(pidFile, 'utf8'));
    expect(() => process.kill(pid, 0)).toThrow(/ESRCH/);
  });

  it('is killed from outside each time: it is repeated, later each time, and the next deployment takes over', async () => {
    const bench = await deployed(one);
    const killed: FakePackage = { name: 'faces', version: '3.0.0', padding: 500, kills: true };
    bench.answer = honest([packageBytes(killed), twoBytes]);
    bench.manager.desire({ generation: 2, package: desiredPackage(killed, packageBytes(killed)) });
    await until('killed some times', () => bench.manager.state.interruptions > 5, 50_000);
    expect(['staged', 'warming']).toContain(bench.manager.state.phase);
    expect(bench.manager.state).toMatchObject({ error: { code: 'E_OTA_GATE_KILLED' }, active: { version: '1.0.0' } });
    expect(bench.slot.running?.slot.version).toBe('1.0.0');
    bench.manager.desire({ generation: 3, package: desiredPackage(two, twoBytes) });
    await bench.settle(3);
    expect(bench.manager.state).toMatchObject({ phase: 'committed', error: null, active: { version: '2.0.0' } });
  });

  it('does not keep the daemon from stopping', async () => {
    const bench = await deployed(one);
    const pidFile = join(bench.folder, 'pid');
    bench.runtime.candidatePidFile = pidFile;
    const stuck: FakePackage = { name: 'faces', version: '3.0.0', padding: 500, spins: true };
    bench.answer = honest([packageBytes(stuck)]);
    bench.manager.desire({ generation: 2, package: desiredPackage(stuck, packageBytes(stuck)) });
    await until('the test runs', () => existsSync(pidFile) && readFileSync(pidFile, 'utf8') !== '');
    const pid = Number(readFileSync(pidFile, 'utf8'));
    await bench.manager.stop();
    expect(() => process.kill(pid, 0)).toThrow(/ESRCH/);
    expect(bench.manager.state).toMatchObject({ phase: 'warming', interruptions: 0 });
  });
});

describe('roll-back', () => {
  it('on request, and refused when there is nothing to go back to', async () => {
    const bench = await deployed(one, two);
    await bench.manager.rollback();
    expect(bench.slot.running?.slot.version).toBe('1.0.0');
    await expect(bench.manager.rollback()).rejects.toMatchObject({ code: 'E_OTA_NO_PREVIOUS' });
  });

  it('when the package fails within its probation', async () => {
    const bench = await deployed(one, two);
    bench.manager.activeFailing(desiredPackage(two, twoBytes).digest, { code: 'E_PIPELINE', message: 'fails' });
    await until('back', () => bench.slot.running?.slot.version === '1.0.0');
    expect(bench.manager.state.error?.code).toBe('E_OTA_PROBATION');
  });
});

describe('a full disk', () => {
  it('stops decisions, says so, and goes on when there is space', async () => {
    const bench = await deployed(one);
    bench.db.exec('CREATE TABLE filler (x BLOB)');
    bench.db.pragma(`max_page_count = ${Number(bench.db.pragma('page_count', { simple: true }))}`);
    expect(() => { for (;;) bench.db.prepare('INSERT INTO filler VALUES (zeroblob(64))').run(); }).toThrow(/full/);
    bench.answer = honest([twoBytes]);
    // The state grows with the name, so the journal needs a page that is not there.
    bench.manager.desire({ generation: 2, package: { ...desiredPackage(two, twoBytes), name: 'x'.repeat(8000) } });
    await until('refused', () => bench.faults.length > 0);
    expect(new Set(bench.faults)).toEqual(new Set(['E_DISK_FULL']));
    expect(bench.manager.state.phase).toBe('committed');
    expect(bench.slot.running?.slot.version).toBe('1.0.0');
    bench.db.pragma('max_page_count = 100000');
    await bench.settle(2);
    expect(bench.manager.state).toMatchObject({ phase: 'rejected', error: { code: 'E_OTA_PACKAGE' } });
  });
});

describe('a hostile broker', () => {
  it('that wants 10,000 packages costs a handful of decisions, and the newest is installed', async () => {
    const bench = await deployed(one);
    bench.answer = honest([twoBytes]);
    const before = bench.journal.transitions().length;
    for (let generation = 2; generation < 10_000; generation++) {
      bench.manager.desire({ generation, package: { ...desiredPackage(two, twoBytes), digest: generation.toString(16).padStart(64, '0') } });
      if (generation % 1000 === 0) await new Promise((resolve) => { setImmediate(resolve); });
    }
    bench.manager.desire({ generation: 10_000, package: desiredPackage(two, twoBytes) });
    await bench.settle(10_000);
    expect(bench.manager.state).toMatchObject({ phase: 'committed', active: { version: '2.0.0' } });
    expect(bench.journal.transitions().length - before).toBeLessThan(60);
  });

  it('that sends generation 2^53-1 is told so, and disables nothing', async () => {
    const bench = await deployed(one);
    bench.manager.desire({ generation: Number.MAX_SAFE_INTEGER, package: null, settings: { fps: 1 } });
    expect(bench.settings).toEqual([]);
    expect(bench.faults).toEqual(['E_OTA_GENERATION']);
    bench.answer = honest([twoBytes]);
    bench.announcements.length = 0;
    bench.manager.desire({ generation: 2, package: desiredPackage(two, twoBytes) });
    await bench.settle(2);
    expect(bench.manager.state).toMatchObject({ phase: 'committed', active: { version: '2.0.0' } });
  });
});

describe('a package of the device itself', () => {
  it('is installed when there is none, through the same gate', async () => {
    const folder = temporaryFolder();
    const path = join(folder, 'factory.sterna');
    writeFileSync(path, oneBytes);
    const bench = new Bench(folder, []);
    await bench.manager.start();
    await bench.manager.install(path);
    await until('committed', () => bench.manager.state.phase === 'committed');
    expect(bench.slot.running?.slot.version).toBe('1.0.0');
    expect(bench.manager.state.generation_seen).toBeNull();
    await expect(bench.manager.install('/nowhere')).resolves.toBeUndefined();
  });
});
