import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const main = fileURLToPath(new URL('../../../dist/deploy/cli/main.js', import.meta.url));

interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  out: string;
  err: string;
}

/** Runs the compiled command; `deaf` closes the reading end of its stdout at once. */
function sterna(argv: string[], deaf = false): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [main, ...argv], { stdio: ['ignore', 'pipe', 'pipe'] });
    const ended: Ended = { code: null, signal: null, out: '', err: '' };
    child.stdout.on('data', (chunk: Buffer) => (ended.out += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (ended.err += chunk.toString()));
    if (deaf) child.stdout.destroy();
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ ...ended, code, signal }));
  });
}

describe.skipIf(!existsSync(main))('the compiled command (needs dist)', () => {
  it('prints its version and exits 0', async () => {
    expect(await sterna(['--version'])).toMatchObject({ code: 0, out: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) as string, err: '' });
  });

  it('exits with the documented codes', async () => {
    expect((await sterna(['frobnicate'])).code).toBe(2);
    const missing = await sterna(['inspect', '/nowhere/model.onnx', '--json']);
    expect(missing.code).toBe(3);
    expect(JSON.parse(missing.out)).toMatchObject({ error: { code: 'E_FILE' } });
  });

  it('stops quietly when nobody reads its output any more', async () => {
    const { code, signal, err } = await sterna(['--help'], true);
    expect({ code, signal, err }).toEqual({ code: 0, signal: null, err: '' });
  });
});
