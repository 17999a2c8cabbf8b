/** SIGKILL at random moments: after it the package's own thresholds are in force, or an accepted overlay, whole; and golden vectors hold. */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { OverlayFiles } from '../../../agent/adapt/overlay-files.js';
import { overlayNamed } from '../../../agent/ground/overlay-name.js';
import { overlayHash, withOverlay } from '../../../runtime/adapt/overlay.js';
import { openPackage, selfTest, type ModelPackage } from '../../../runtime/package/index.js';
import { blobsBytes, quantized, writePictures } from '../../runtime/adapt/fixture.js';
import { nativeMissing } from '../../runtime/support/native.js';
import { random } from '../../runtime/support/random.js';
import { aedesBroker } from '../support/brokers.js';
import { bundleOverlays, overlaysScript } from '../support/bundle.js';
import { FleetSide } from '../support/fleet-side.js';
import { temporaryFolder, until } from '../support/tools.js';
import { contentOf, packageDigest } from './overlays-content.js';

const daemonEntry = resolve(import.meta.dirname, '../../../dist/agent/main.js');
const missing = nativeMissing ?? (existsSync(daemonEntry) ? undefined : 'dist is missing');
/** More of them: `STERNA_KILLS=100 npx vitest run test/agent/adapt/kills.long.test.ts`. */
const kills = Number(process.env['STERNA_KILLS'] ?? 3);
const seed = Number(process.env['STERNA_KILLS_SEED'] ?? 1);
/** The process that adapts has the lowest priority: while other tests keep every core busy, it gets next to nothing. */
const PATIENCE_MS = 300_000;

const overlaysIn = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.overlay')) : []);
const pause = (ms: number): Promise<void> => new Promise((done) => { setTimeout(done, ms); });
const ended = (child: ChildProcess): Promise<void> => new Promise((done) => child.once('close', () => done()));

describe('SIGKILL while overlays are written and deleted', () => {
  beforeAll(bundleOverlays, 60_000);

  it('leaves the overlay that was accepted, whole, or none', async () => {
    const next = random(seed);
    const left = { none: 0, whole: 0 };
    for (let kill = 0; kill < kills * 5; kill++) {
      const folder = temporaryFolder();
      const child = spawn(process.execPath, [overlaysScript, folder], { stdio: ['ignore', 'pipe', 'inherit'] });
      onTestFinished(() => void child.kill('SIGKILL'));
      let said = '';
      child.stdout.on('data', (piece: Buffer) => { said += piece.toString(); });
      await until('it has accepted one', () => said !== '');
      const end = ended(child);
      await pause(next() * 40);
      child.kill('SIGKILL');
      await end;
      const names = overlaysIn(folder);
      expect(names.length).toBeLessThan(2);
      const stored = await new OverlayFiles(folder).read(packageDigest);
      const count = said.split('\n').filter((line) => /^\d+$/.test(line)).length;
      // A kill comes before or after what it was about to say.
      if (stored === null) expect(names).toEqual([]);
      else expect([count - 1, count].some((n) => Buffer.from(contentOf(n)).equals(stored.bytes))).toBe(true);
      left[stored === null ? 'none' : 'whole'] += 1;
    }
    expect(left.none + left.whole).toBe(kills * 5);
  }, 120_000 + kills * 10_000);
});

/** A daemon on one state folder, with adaptation on or off. */
class Device {
  readonly fleet: FleetSide;
  readonly packages: string;
  readonly #folder: string;
  readonly #url: string;
  readonly #stored: ModelPackage;
  #starts = 0;

  private constructor(folder: string, url: string, fleet: FleetSide, stored: ModelPackage) {
    [this.#folder, this.#url, this.fleet, this.#stored] = [folder, url, fleet, stored];
    this.packages = join(folder, 'state', 'packages');
  }

  static async make(): Promise<Device> {
    const [folder, { url }] = [temporaryFolder(), await aedesBroker()];
    const bytes = await blobsBytes(await quantized());
    writeFileSync(join(folder, 'blobs.sterna'), bytes);
    mkdirSync(join(folder, 'state'));
    await writePictures(join(folder, 'pictures'), 60);
    return new Device(folder, url, await FleetSide.connect(url, { fleet: 'test', device: 'door' }), await openPackage(bytes));
  }

  /** @param killMs after its start; null: when it has reported the wanted state @returns how long it ran, milliseconds */
  async run(enabled: boolean, killMs: number | null): Promise<number> {
    const config = join(this.#folder, `${++this.#starts}.yaml`);
    writeFileSync(config, JSON.stringify({ // JSON is YAML.
      device_id: 'door', fleet: 'test', state_dir: join(this.#folder, 'state'), log_level: 'error', broker: { url: this.#url }, api: { enabled: false },
      pipeline: { package: join(this.#folder, 'blobs.sterna'), threads: 1 }, camera: { input: join(this.#folder, 'pictures'), loop: true, fps: 30 },
      ota: { probation_ms: 50, warm_timeout_ms: PATIENCE_MS }, trust: { unsigned: true },
      adapt: { enabled, cpu_share: 1, frames: 20, judged_frames: 5, every_ms: 1, memory_bytes: 2 ** 29 },
    }));
    const [before, began] = [this.fleet.reported.length, performance.now()];
    const child = spawn(process.execPath, [daemonEntry, '--config', config], { stdio: ['ignore', 'ignore', 'inherit'] });
    onTestFinished(() => void child.kill('SIGKILL'));
    const end = ended(child);
    if (killMs === null) await until(`it reports that it ${enabled ? 'is' : 'is not'} adapted`, () => this.fleet.reported.slice(before).some(({ adapt, slots }) => slots.active !== null && (enabled ? adapt?.state === 'adapted' : adapt === undefined)), PATIENCE_MS);
    else await pause(killMs);
    child.kill('SIGKILL');
    await end;
    return performance.now() - began;
  }

  /** Without the device's own code: at most one overlay, whole, with which golden vectors hold. @returns its hash; null: the package as it is */
  async look(): Promise<string | null> {
    const names = overlaysIn(this.packages);
    expect(names.length).toBeLessThan(2);
    const [name] = names;
    if (name === undefined) return null;
    const bytes = readFileSync(join(this.packages, name));
    expect(overlayNamed(name)).toEqual({ digest: this.#stored.sha256, hash: overlayHash(bytes) });
    expect(await selfTest(withOverlay(this.#stored, bytes), { rounds: 0, threads: 1 })).toMatchObject({ passed: true });
    return overlayHash(bytes);
  }
}

describe.skipIf(missing !== undefined)(`SIGKILL of a daemon that adapts${missing === undefined ? '' : ` (${missing})`}`, () => {
  it('leaves the thresholds of the package or accepted ones, and the next start goes on from there', async () => {
    const next = random(seed);
    const device = await Device.make();
    const takesMs = await device.run(true, null);
    let before = await device.look();
    expect(before).not.toBeNull();
    for (let kill = 0; kill < kills; kill++) {
      // On where there is nothing yet, and off where there is something, so that both ways are killed.
      const enabled = before === null;
      await device.run(enabled, takesMs * (enabled ? 0.2 + next() : next() * 0.6));
      const after = await device.look();
      if (!enabled && after !== null) expect(after).toBe(before);
      before = after;
    }
    await device.run(true, null);
    const last = await device.look();
    expect(last).not.toBeNull();
    if (before !== null) expect(last).toBe(before);
    await device.run(false, null);
    expect(await device.look()).toBeNull();
    // Nothing is left of what was interrupted.
    expect(readdirSync(device.packages).filter((name) => !name.endsWith('.sterna'))).toEqual([]);
  }, PATIENCE_MS + kills * 60_000);
});
