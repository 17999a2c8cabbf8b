// The gate on the execution ledger is itself tested: an output in which a kernel ran nowhere must fail it.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const gate = fileURLToPath(new URL('../../scripts/check-ledger.mjs', import.meta.url));
const native = fileURLToPath(new URL('../../build/native-release', import.meta.url));
const built = existsSync(join(native, 'sterna_kernel_tests_emulated'));
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

/** The kernel tests of the checkout, on a CPU where STERNA_ISA masks all that `isas` does not name. */
function kernelTests(program: string, isas: string): string {
  const { stdout } = spawnSync(join(native, program), ['gemm_q8_saturates', 'gemm_f32_does_not', 'peak_loops'], { encoding: 'utf8', env: { ...process.env, STERNA_ISA: isas } });
  return stdout;
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
    expect(check([`${host}ledger pool/avx2: not run: no test runs it\n`]).status).toBe(1);
  });

  it('fails when the ledger is empty', () => {
    expect(check(['1 passed, 0 failed, 0 skipped\n']).status).toBe(1);
    expect(check([]).status).toBe(1);
  });

  const withoutVnni = `ledger gemm_q8/avx2: native
ledger gemm_q8/avxvnni: not run: CPU or operating system lacks avx_vnni
ledger peak/avxvnni: not run: CPU or operating system lacks avx_vnni
`;
  const sourceLevel = `ledger gemm_q8/avx2: emulated at source level
ledger gemm_q8/avxvnni: emulated at source level
ledger peak/avxvnni: not run: no unit, falls back
`;

  it('takes a kernel that this CPU lacks from the emulation at source level, and skips by name what no emulation has', () => {
    const { status, stdout } = check([withoutVnni, sourceLevel]);
    expect(stdout).toContain('ledger gemm_q8/avxvnni: emulated at source level');
    expect(stdout).toContain('SKIPPED: peak/avxvnni ran nowhere (not run: CPU or operating system lacks avx_vnni)');
    expect(stdout).toContain('2 passed, 0 failed, 1 skipped');
    expect(status).toBe(0);
  });

  it('treats a masked instruction set as one that the CPU lacks', () => {
    const masked = withoutVnni.replaceAll('CPU or operating system lacks avx_vnni', 'masked by STERNA_ISA');
    expect(check([masked, sourceLevel])).toMatchObject({ status: 0, stdout: expect.stringContaining('2 passed, 0 failed, 1 skipped') as string });
  });

  it('skips by name what an Arm host lacks where there is no qemu', () => {
    const { status, stdout } = check([olderArm.replace('emulated', 'native')]);
    expect(stdout).toContain('SKIPPED: gemm_q8/neondot ran nowhere');
    expect(status).toBe(0);
  });

  it('fails for a kernel that an emulation lists and did not run', () => {
    const { status, stdout } = check([withoutVnni, sourceLevel.replace('avxvnni: emulated at source level', 'avxvnni: not run: no test runs it')]);
    expect(stdout).toContain('FAIL: gemm_q8/avxvnni ran nowhere');
    expect(status).toBe(1);
  });

  it.skipIf(!built).each([['AVX-VNNI', 'sse41,avx2'], ['AVX-512', 'sse41,avx2,avxvnni'], ['AVX', 'sse41'], ['anything new', 'ref']])(
    `passes on an x86-64 CPU without %s${built ? '' : ' (skipped: sterna_kernel_tests_emulated is not built)'}`, (_, isas) => {
      const here = kernelTests('sterna_kernel_tests', isas), emulated = kernelTests('sterna_kernel_tests_emulated', '');
      const { status, stdout } = check([here, emulated]);
      for (const kernel of ['gemm_q8/avxvnni', 'gemm_q8/avx512vnni', 'gemm_f32/avx512vnni', 'gemm_f32/avx2']) expect(emulated).toContain(`ledger ${kernel}: emulated at source level`);
      expect(stdout).toContain('SKIPPED: peak/avx512vnni ran nowhere');
      expect(stdout).not.toContain('FAIL');
      expect(status).toBe(0);
    });

  it('names what is skipped on request', () => {
    const { status, stdout } = check([host, olderArm], { STERNA_LEDGER: 'skip' });
    expect(status).toBe(0);
    expect(stdout).toContain('SKIPPED: gemm_q8/neondot ran nowhere');
    expect(stdout).toContain('2 passed, 0 failed, 1 skipped');
  });
});
