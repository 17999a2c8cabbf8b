// The gate on the execution ledger: `node scripts/check-ledger.mjs OUTPUT...` reads what runs of sterna_kernel_tests printed (on the host, and
// under emulators), and fails unless every kernel that any of these builds ships has run in one of them. What there is to run is in the
// output itself, which follows the table of ISAs: this file knows no names.
import { readFileSync } from 'node:fs';

/** By kernel: everything that the runs said of it. */
function ledgerOf(outputs) {
  const ledger = new Map();
  for (const output of outputs) {
    for (const [, kernel, state] of output.matchAll(/^ledger (\S+): (.+)$/gm)) ledger.set(kernel, [...(ledger.get(kernel) ?? []), state]);
  }
  return ledger;
}

const ran = (state) => state === 'native' || state === 'emulated';
/** An ISA without a kernel of this family takes the next slower one's: there is nothing to run. */
const absent = (state) => state.startsWith('not run: no unit');

const files = process.argv.slice(2);
const ledger = [...ledgerOf(files.map((file) => readFileSync(file, 'utf8')))].filter(([, states]) => !states.every(absent));
const idle = ledger.filter(([, states]) => !states.some(ran));
const tolerated = process.env.STERNA_LEDGER === 'skip';

for (const [kernel, states] of ledger) process.stdout.write(`ledger ${kernel}: ${states.find(ran) ?? [...new Set(states)].join('; ')}\n`);
for (const [kernel, states] of idle) process.stdout.write(`${tolerated ? 'SKIPPED' : 'FAIL'}: ${kernel} ran nowhere (${[...new Set(states)].join('; ')})\n`);
if (ledger.length === 0) process.stdout.write('FAIL: no kernel is in the ledger\n');
if (idle.length > 0 && !tolerated) {
  process.stdout.write('Run the tests on a CPU that has these instructions, or under an emulator; STERNA_LEDGER=skip turns such kernels into named skips.\n');
}
process.stdout.write(`${ledger.length - idle.length} passed, ${tolerated ? 0 : idle.length} failed, ${tolerated ? idle.length : 0} skipped\n`);
if (ledger.length === 0 || (idle.length > 0 && !tolerated)) process.exitCode = 1;
