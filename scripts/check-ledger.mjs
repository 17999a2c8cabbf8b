// The gate on the execution ledger: `node scripts/check-ledger.mjs OUTPUT...` reads what runs of the kernel tests printed (on this CPU, emulated at
// source level, and under emulators). A kernel that ran in none of them fails it, with one exception: what this CPU lacks, and no emulation
// covers, is a named skip. What there is to run is in the output itself, which follows the table of ISAs: this file knows no names.
import { readFileSync } from 'node:fs';

/** By kernel: everything that the runs said of it. */
function ledgerOf(outputs) {
  const ledger = new Map();
  for (const output of outputs) {
    const entries = [...output.matchAll(/^ledger (\S+): (.+)$/gm)];
    const emulates = entries.some(([, , state]) => state.startsWith('emulated'));
    for (const [, kernel, state] of entries) ledger.set(kernel, [...(ledger.get(kernel) ?? []), { state, emulates }]);
  }
  return ledger;
}

const ran = ({ state }) => state === 'native' || state.startsWith('emulated');
/** An ISA without a kernel of this family takes the next slower one's: there is nothing to run. */
const absent = ({ state }) => state.startsWith('not run: no unit');
/** Said by a run on this CPU, not by an emulated one. A feature that STERNA_ISA masks counts as one that the CPU lacks. */
const lackedHere = ({ state, emulates }) => !emulates && /^not run: (CPU or operating system lacks |masked by STERNA_ISA)/.test(state);
const reasons = (entries) => [...new Set(entries.filter((entry) => !absent(entry)).map(({ state }) => state))].join('; ');

const files = process.argv.slice(2);
const ledger = [...ledgerOf(files.map((file) => readFileSync(file, 'utf8')))].filter(([, entries]) => !entries.every(absent));
const idle = ledger.filter(([, entries]) => !entries.some(ran));
const skipped = idle.filter(([, entries]) => process.env.STERNA_LEDGER === 'skip' || entries.every((entry) => absent(entry) || lackedHere(entry)));
const failed = idle.filter((row) => !skipped.includes(row));

for (const [kernel, entries] of ledger) process.stdout.write(`ledger ${kernel}: ${entries.find(ran)?.state ?? reasons(entries)}\n`);
for (const [kernel, entries] of skipped) process.stdout.write(`SKIPPED: ${kernel} ran nowhere (${reasons(entries)})\n`);
for (const [kernel, entries] of failed) process.stdout.write(`FAIL: ${kernel} ran nowhere (${reasons(entries)})\n`);
if (ledger.length === 0) process.stdout.write('FAIL: no kernel is in the ledger\n');
if (failed.length > 0) {
  process.stdout.write('An emulated run should have covered these kernels. STERNA_LEDGER=skip turns them into named skips.\n');
}
process.stdout.write(`${ledger.length - idle.length} passed, ${failed.length} failed, ${skipped.length} skipped\n`);
if (ledger.length === 0 || failed.length > 0) process.exitCode = 1;
