/** The process that tests a fake package: it does what the package says about itself. Plain JavaScript on the built protocol, because Node starts it. */
import { readFileSync } from 'node:fs';
import { serveCandidate } from '../../../dist/agent/inference/candidate-protocol.js';
import { dieWithParent } from '../../../dist/kernels/binding/process.js';

const [pidFile] = process.argv.slice(2);

serveCandidate(async ({ path }) => {
  const fake = JSON.parse(readFileSync(path, 'utf8').split('\n')[0] ?? '');
  if (fake.spins === true) dieWithParent(); // as the real one: a loop hears of no other end
  if (pidFile !== undefined && pidFile !== '') (await import('node:fs')).writeFileSync(pidFile, String(process.pid));
  if (fake.kills === true) process.kill(process.pid, 'SIGKILL');
  if (fake.crashes === true) process.abort();
  if (fake.spins === true) for (;;);
  const eaten = [];
  while (fake.eats === true) {
    eaten.push(Buffer.alloc(8 * 1024 * 1024, 1));
    await new Promise((resolve) => { setTimeout(resolve, 2); });
  }
  return reportOf(fake);
});

function reportOf(fake) {
  return {
    name: fake.name, version: fake.version, memory_bytes: fake.memory ?? 1000, p50_ms: 1, p99_ms: fake.p99 ?? 1,
    golden: fake.golden === null ? [] : [{ name: 'detector/out', passed: fake.golden !== false, detail: 'cosine 0.5' }],
    energy: fake.joules === undefined ? null : { joules: fake.joules, source: 'cpu_model/process' }, embedding_space_id: fake.space ?? 'space-1', gallery_plan: fake.plan ?? null, budget: { ram_bytes: 10_000, p99_ms: 10, joules: 2 },
  };
}
