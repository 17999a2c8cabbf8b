/** What `npm run device` lays out is complete, small, and runs by itself. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { projectFolder } from '../../deploy/demo/folder.js';
import { temporaryFolder, until } from '../agent/support/tools.js';

const built = ['dist/agent/main.js', 'build/native-release/sterna.node'].every((path) => existsSync(join(projectFolder(), path)));

function device(...args: string[]): { status: number | null; stderr: string } {
  return spawnSync(process.execPath, [join(projectFolder(), 'scripts', 'device.mjs'), ...args], { encoding: 'utf8' });
}

/** Bytes on a disk of 4 KiB blocks. */
function diskBytes(folder: string): number {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + Math.ceil(statSync(join(entry.parentPath, entry.name)).size / 4096) * 4096, 0);
}

describe.skipIf(!built)(`a device folder${built ? '' : ' (skipped: npm run build)'}`, () => {
  const parent = mkdtempSync(join(tmpdir(), 'sterna-device-'));
  const folder = join(parent, 'sterna');

  beforeAll(() => { expect(device(folder)).toMatchObject({ status: 0 }); }, 180_000);
  afterAll(() => { rmSync(parent, { recursive: true }); });

  it('has production packages of at most 60 MB, and none that only development needs', () => {
    expect(diskBytes(join(folder, 'node_modules'))).toBeLessThanOrEqual(60e6);
    expect(existsSync(join(folder, 'node_modules', 'onnxruntime-node'))).toBe(false);
    expect(existsSync(join(folder, 'node_modules', 'typescript'))).toBe(false);
    expect(existsSync(join(folder, 'dist', 'deploy'))).toBe(false);
  });

  it('is told where to go', () => {
    expect(device()).toMatchObject({ status: 2, stderr: expect.stringContaining('npm run device -- DIR') as string });
  });

  it('runs: the daemon answers on its local API, and stops on SIGTERM', async () => {
    const child = spawn(process.execPath, [join(folder, 'dist', 'agent', 'main.js')], {
      cwd: folder, stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env['PATH'], STERNA_STATE_DIR: temporaryFolder(), STERNA_API_PORT: '0' },
    });
    onTestFinished(() => { child.kill('SIGKILL'); });
    let out = '';
    child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (out += chunk.toString()));
    const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
    await until(`the daemon has started: ${out}`, () => /"api":"http/.test(out), 20_000);
    const api = /"api":"(http[^"]+)"/.exec(out)?.[1] ?? '';
    expect((await fetch(`${api}/health`)).status).toBe(200);
    child.kill('SIGTERM');
    expect(await ended).toBe(0);
  });
});
