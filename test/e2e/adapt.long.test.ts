/** Thresholds that a whole daemon adapts: pictures from files, what it tells over MQTT, settings that are signed, and a restart. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { AdaptationEvent } from '../../agent/contracts/index.js';
import { parseConfig, startAgent, type Agent } from '../../agent/main.js';
import { runCli } from '../../deploy/cli/program.js';
import { withOverlay } from '../../runtime/adapt/overlay.js';
import { openPackage, selfTest } from '../../runtime/package/index.js';
import { aedesBroker } from '../agent/support/brokers.js';
import { FleetSide } from '../agent/support/fleet-side.js';
import { quietLog, temporaryFolder, until } from '../agent/support/tools.js';
import { adaptEntry, blobsBytes, quantized, writePictures } from '../runtime/adapt/fixture.js';
import { nativeMissing } from '../runtime/support/native.js';

/** The process that adapts has the lowest priority: while other tests keep every core busy, it gets next to nothing. */
const PATIENCE_MS = 500_000;
const missing = nativeMissing ?? (existsSync(adaptEntry) ? undefined : 'dist is missing');

async function sterna(...args: string[]): Promise<number> {
  return runCli([...args, '--json'], { out: () => undefined, err: () => undefined });
}

interface Bench {
  fleet: FleetSide;
  /** The daemon, again after a stop. */
  start(): Promise<Agent>;
  overlays(): string[];
  publish(settings: object): Promise<number>;
  adaptations(): AdaptationEvent[];
  path: string;
}

async function benchOf(): Promise<Bench> {
  const [folder, { url }] = [temporaryFolder(), await aedesBroker()];
  const [path, repository, pictures, state] = ['blobs.sterna', 'repository', 'pictures', 'state'].map((name) => join(folder, name)) as [string, string, string, string];
  writeFileSync(path, await blobsBytes(await quantized()));
  await writePictures(pictures, 60);
  expect(await sterna('repository', 'init', repository, '--no-passphrase')).toBe(0);
  expect(await sterna('repository', 'add', path, '--repository', repository)).toBe(0);
  const fleet = await FleetSide.connect(url, { fleet: 'demo', device: 'door-1' });
  const config = parseConfig({
    device_id: 'door-1', fleet: 'demo', state_dir: state, broker: { url }, api: { port: 0 }, pipeline: { package: path, threads: 1 },
    camera: { input: pictures, loop: true, fps: 30 }, ota: { probation_ms: 50, warm_timeout_ms: PATIENCE_MS },
    adapt: { enabled: true, cpu_share: 1, frames: 30, judged_frames: 5, every_ms: 1, memory_bytes: 2 ** 29 },
    trust: { image_root: join(repository, 'image', '1.root.json'), director_root: join(repository, 'director', '1.root.json') },
  });
  return {
    fleet, path,
    start: async () => {
      const agent = await startAgent(config, { log: quietLog, env: {} });
      onTestFinished(() => agent.stop());
      return agent;
    },
    overlays: () => readdirSync(join(state, 'packages')).filter((name) => name.endsWith('.overlay')).map((name) => join(state, 'packages', name)),
    publish: async (settings) => {
      const file = join(folder, 'thresholds.json');
      writeFileSync(file, JSON.stringify(settings));
      expect(await sterna('repository', 'add', file, '--repository', repository)).toBe(0);
      return sterna('publish', '--settings', file, '--broker', url, '--fleet', 'demo', '--device', 'door-1', '--timeout', '60', '--repository', repository);
    },
    adaptations: () => fleet.events.filter((event) => event.type === 'adaptation'),
  };
}

describe.skipIf(missing !== undefined)(`a daemon that adapts${missing === undefined ? '' : ` (${missing})`}`, () => {
  it('accepts an overlay from its frames, reports it, keeps it over a restart, and gives it up when settings say so that are signed', async () => {
    const bench = await benchOf();
    const agent = await bench.start();
    await until('it is adapted', () => bench.adaptations().length > 0, PATIENCE_MS);
    const [accepted] = bench.adaptations();
    expect(accepted).toMatchObject({ action: 'accepted', pipeline: 'main', package: { name: 'blobs', version: '1.0.0' }, frames: 35, reason: null });
    expect(accepted?.gain).toBeGreaterThan(0.5);
    const [file = ''] = bench.overlays();
    expect(file).toContain(accepted?.overlay ?? 'none');
    await bench.fleet.untilReported('the overlay', ({ adapt }) => adapt?.state === 'adapted' && adapt.overlay === accepted?.overlay);
    expect(agent.status()['pipelines']).toMatchObject([{ adapt: { state: 'adapted', overlay: accepted?.overlay } }]);
    // Golden vectors hold with it, and it is not the package as it was.
    const adapted = withOverlay(await openPackage(bench.path), readFileSync(file));
    expect(await selfTest(adapted, { rounds: 0, threads: 1 })).toMatchObject({ passed: true });
    expect(Buffer.from(adapted.file('models/classifier.onnx')).equals(Buffer.from((await openPackage(bench.path)).file('models/classifier.onnx')))).toBe(false);

    await agent.stop();
    const before = bench.fleet.reported.length;
    const again = await bench.start();
    await until('it reports the overlay again', () => bench.fleet.reported.slice(before).some(({ adapt }) => adapt?.state === 'adapted' && adapt.overlay === accepted?.overlay), PATIENCE_MS);
    expect(bench.overlays()).toEqual([file]);

    expect(await bench.publish({ adapt: false })).toBe(0);
    await until('it is reverted', () => bench.adaptations().length > 1, PATIENCE_MS);
    expect(bench.adaptations()[1]).toMatchObject({ action: 'reverted', overlay: accepted?.overlay, reason: 'adaptation is switched off' });
    await bench.fleet.untilReported('nothing adapted', ({ adapt }) => adapt === undefined);
    expect(bench.overlays()).toEqual([]);
    const frames = (): number => (again.status()['pipelines'] as { camera: { frames: number } }[])[0]?.camera.frames ?? 0;
    const seen = frames();
    await until('frames go on', () => frames() > seen + 5);
  }, PATIENCE_MS + 60_000);
});
