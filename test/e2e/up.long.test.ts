/** `sterna up`, as `npm start` runs it: the compiled command line in a process of its own. */
import { spawn, spawnSync, type ChildProcessByStdio } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { uniform } from '../../deploy/compress/random.js';
import { projectFolder } from '../../deploy/demo/folder.js';
import { assetsPresent } from '../../deploy/demo/up.js';
import { waveOf } from '../../deploy/lab/wave.js';
import { mixAt, siren, traffic } from '../../deploy/sound/synthesize.js';
import { listenOn } from '../deploy/fixtures.js';
import { until } from '../agent/support/tools.js';

const CLI = join(projectFolder(), 'dist', 'deploy', 'cli', 'main.js');
const MINUTES = 60_000;

function missing(): string {
  if (!existsSync(CLI)) return 'the TypeScript build is missing (npm run build)';
  if (!existsSync(join(projectFolder(), 'build', 'native-release', 'sterna.node'))) return 'the native build is missing (npm run build)';
  if (!assetsPresent() && spawnSync('npm', ['ping'], { timeout: 8000, stdio: 'ignore' }).status !== 0) return 'models and clips are not cached and npm is not reachable';
  return '';
}
const reason = missing();

interface Run {
  child: ChildProcessByStdio<null, Readable, Readable>;
  stdout: () => string;
  stderr: () => string;
  exit: Promise<number | null>;
}

function up(...args: string[]): Run {
  const child = spawn(process.execPath, [CLI, 'up', '--port', '0', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => { out += text; });
  child.stderr.setEncoding('utf8').on('data', (text: string) => { err += text; });
  const exit = new Promise<number | null>((resolve) => child.once('close', resolve));
  onTestFinished(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    await exit;
  });
  return { child, stdout: () => out, stderr: () => err, exit };
}

/** The device's process: the only child. Linux only, like the check for it. */
function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(/\s+/).filter((text) => text !== '').map(Number);
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

const isSiren = (event: unknown): boolean => (event as { finding?: { label?: string } }).finding?.label === 'siren';

/** An uncompressed picture of one grey: nobody comes, and looking at it costs little. */
function greyBitmap(width: number, height: number): Buffer {
  const pixels = Buffer.alloc(3 * width * height, 128);
  const header = Buffer.alloc(54);
  header.write('BM');
  header.writeUInt32LE(header.length + pixels.length, 2);
  header.writeUInt32LE(header.length, 10);
  header.writeUInt32LE(40, 14);
  header.writeInt32LE(width, 18);
  header.writeInt32LE(height, 22);
  header.writeUInt16LE(1, 26);
  header.writeUInt16LE(24, 28);
  return Buffer.concat([header, pixels]);
}

describe.skipIf(reason !== '')(`sterna up${reason === '' ? '' : ` (skipped: ${reason})`}`, () => {
  let state: string;
  beforeAll(() => { state = mkdtempSync(join(tmpdir(), 'sterna-up-test-')); });
  afterAll(() => rmSync(state, { recursive: true, force: true }));

  it('--once brings a compressed model to a device that recognizes both people, and says what it measured', async () => {
    const run = up('--once', '--json');
    expect(await run.exit, `${run.stderr()}${run.stdout()}`).toBe(0);
    const summary: unknown = JSON.parse(run.stdout());
    expect(summary).toMatchObject({
      package: { name: 'faces', sha256: expect.stringMatching(/^[0-9a-f]{64}$/) as string },
      transfer: { state: 'committed' },
      missing: [],
      telemetry: { model: { name: 'faces', version: '1.0.0' }, counters: { frames_processed_total: expect.any(Number) as number } },
      malformed_messages: 0,
    });
    const { package: pack, transfer, recognitions, telemetry, memory } = summary as Record<string, never> & {
      package: { float_bytes: number; int8_bytes: number; package_bytes: number }; transfer: { blocks: number };
      recognitions: { name: string | null; similarity: number | null }[];
      telemetry: { stages: { stage: string; p50_ms: number; p99_ms: number }[]; exits: Record<string, number>; counters: Record<string, number> }; memory: { rss_bytes: number };
    };
    expect(pack.int8_bytes).toBeLessThan(pack.float_bytes * 0.5);
    // Content-defined chunks have 4 to 64 KiB; the manifest and the end of the package may be shorter.
    expect(transfer.blocks).toBeGreaterThanOrEqual(Math.ceil(pack.package_bytes / 65_536));
    expect(transfer.blocks).toBeLessThanOrEqual(Math.ceil(pack.package_bytes / 4096) + 1);
    expect(new Set(recognitions.map(({ name }) => name).filter((name) => name !== null))).toEqual(new Set(['Martin', 'Franck']));
    expect(recognitions.every(({ similarity }) => similarity === null || similarity > 0.42)).toBe(true);
    expect(telemetry.stages.map(({ stage }) => stage)).toEqual(expect.arrayContaining(['motion', 'letterbox', 'detect', 'nms', 'landmarks', 'align', 'embed', 'match']));
    expect(telemetry.stages.every(({ p50_ms, p99_ms }) => p50_ms <= p99_ms)).toBe(true);
    expect(telemetry.counters['frames_dropped_by_swap_total'] ?? 0).toBe(0); // counters at 0 are not sent
    expect(telemetry.exits.pixels).toBeGreaterThan(0);
    expect(memory.rss_bytes).toBeGreaterThan(0);
  }, 6 * MINUTES);

  it('runs until Ctrl-C, keeps its people, and leaves no process behind', async () => {
    for (let round = 0; round < 2; round++) {
      const run = up('--state', state);
      await until('it is up', () => run.stderr().includes('Sterna is up'), 4 * MINUTES);
      const [device = 0] = childrenOf(run.child.pid ?? 0);
      expect(alive(device)).toBe(true);
      const url = /Sterna is up: (http:\S+)/.exec(run.stderr())?.[1] ?? '';
      const people = await (await fetch(`${url}/api/devices/demo/door-1/local/gallery`)).json() as { people: { name: string; samples: number }[] };
      // Of five pictures each; a near-duplicate of another is not kept, and how near two are depends on the quantized embedder.
      expect(people.people.map(({ name }) => name)).toEqual(['Martin', 'Franck']);
      for (const { samples } of people.people) expect(samples).toBeGreaterThanOrEqual(3);
      run.child.kill('SIGINT');
      expect(await run.exit, run.stderr()).toBe(0);
      expect(alive(device)).toBe(false);
      expect(run.stderr()).toMatch(/stopped\n$/);
    }
  }, 6 * MINUTES);

  it('leaves no process behind even when it is killed', async () => {
    const run = up('--state', state);
    await until('it is up', () => run.stderr().includes('Sterna is up'), 4 * MINUTES);
    const [device = 0] = childrenOf(run.child.pid ?? 0);
    run.child.kill('SIGKILL');
    await run.exit;
    await until('the device is gone', () => !alive(device), 20_000);
  }, 6 * MINUTES);

  it('--sound hears a siren in traffic, and tells the fleet side of it', async () => {
    const [wave, picture] = [join(state, 'street.wav'), join(state, 'wall.bmp')];
    // A stream that begins again every ten seconds, so that there is always another siren to hear, however busy the machine is.
    const random = uniform(7);
    const [road, wail] = [traffic(10, random), siren('wail', 10, random)];
    writeFileSync(wave, waveOf(mixAt(wail.map((sample, i) => (i < 48_000 ? 0 : sample)), road, 15, 0.1)));
    writeFileSync(picture, greyBitmap(64, 48));
    const run = up('--input', picture, '--sound', wave, '--state', join(state, 'listening'));
    await until('it is up', () => run.stderr().includes('Sterna is up'), 6 * MINUTES);
    const url = /Sterna is up: (http:\S+)/.exec(run.stderr())?.[1] ?? '';
    let events: unknown[] = [];
    await until('a siren is heard', async () => {
      ({ events } = await (await fetch(`${url}/api/devices/demo/door-1`)).json() as { events: unknown[] });
      return events.some((event) => isSiren(event));
    }, 6 * MINUTES).catch((error: unknown) => { throw new Error(`${String(error)}: ${JSON.stringify(events)} ${run.stderr()}`); });
    expect(events.find(isSiren)).toMatchObject({ pipeline: 'sound', type: 'finding', finding: { type: 'sound', label: 'siren', score: expect.any(Number) as number }, model: { name: 'siren' } });
    run.child.kill('SIGINT');
    expect(await run.exit, run.stderr()).toBe(0);
  }, 13 * MINUTES);

  it('names a port that is taken, before it does anything', async () => {
    const other = createServer();
    const port = await listenOn(other);
    onTestFinished(() => { other.close(); });
    const run = up('--port', String(port), '--state', state, '--json');
    expect(await run.exit).toBe(1);
    expect(JSON.parse(run.stdout())).toMatchObject({ error: { code: 'E_PORT_BUSY', message: expect.stringContaining('--port') as string } });
  }, MINUTES);

  it('refuses an input that is not there', async () => {
    const run = up('--input', join(state, 'no-such.mp4'), '--json');
    expect(await run.exit).toBe(3);
    expect(JSON.parse(run.stdout())).toMatchObject({ error: { code: 'E_MEDIA' } });
  }, MINUTES);
});
