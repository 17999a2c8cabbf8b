// The gate on the execution ledger is itself tested: an output in which a kernel ran nowhere must fail it.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const gate = fileURLToPath(new URL('../../scripts/check-ledger.mjs', import.meta.url));
let folder: string;

const host = `ok   some_test
ledger gemm_q8/avx2: native
ledger gemm_f32/sse41: not run: no unit, falls back
1 passed, 0 failed, 0 skipped
`;
const olderArm = 'ledger gemm_q8/neon: emulated\nledger gemm_q8/neondot: not run: CPU or operating system lacks asimddp\n';
const newerArm = 'ledger gemm_q8/neon: emulated\nledger gemm_q8/neondot: emulated\n';

function check(outputs: readonly string[], environment: Readonly<Record<string, string>> = {}): { status: number | null; stdout: string } {
  const files = outputs.map((output, i) => {
    const file = join(folder, `${i}.txt`);
    writeFileSync(file, output);
    return file;
  });
  return spawnSync(process.execPath, [gate, ...files], { encoding: 'utf8', env: { ...process.env, STERNA_LEDGER: '', ...environment } });
}

describe('the gate on the execution ledger', () => {
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'sterna-ledger-'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('passes when every kernel ran in one of the runs', () => {
    const { status, stdout } = check([host, olderArm, newerArm]);
    expect(status).toBe(0);
    expect(stdout).toContain('ledger gemm_q8/neondot: emulated');
    expect(stdout).toContain('3 passed, 0 failed, 0 skipped');
  });

  it('fails when a kernel ran in none, and says why', () => {
    const { status, stdout } = check([host, olderArm]);
    expect(status).toBe(1);
    expect(stdout).toContain('FAIL: gemm_q8/neondot ran nowhere (not run: CPU or operating system lacks asimddp)');
    expect(stdout).toContain('2 passed, 1 failed, 0 skipped');
  });

  it('fails when no test knows a kernel', () => {
    expect(check([`${host}ledger vector/avx2: not run: no test runs it\n`]).status).toBe(1);
  });

  it('fails when the ledger is empty', () => {
    expect(check(['1 passed, 0 failed, 0 skipped\n']).status).toBe(1);
    expect(check([]).status).toBe(1);
  });

  it('names what is skipped on request', () => {
    const { status, stdout } = check([host, olderArm], { STERNA_LEDGER: 'skip' });
    expect(status).toBe(0);
    expect(stdout).toContain('SKIPPED: gemm_q8/neondot ran nowhere');
    expect(stdout).toContain('2 passed, 0 failed, 1 skipped');
  });
});
