// How long one process takes to open a model for the first time, and again: `node opening-child.js MODEL TIMES`, one JSON object on stdout.
import { createSession } from '../../runtime/index.js'; // as users load it: what opening needs besides is in memory

const [path = '', times = '10'] = process.argv.slice(2);
const ms: number[] = [];
const cpu_ms: number[] = [];
for (let i = 0; i < Number(times); i++) {
  const [before, start] = [process.cpuUsage(), performance.now()];
  const session = await createSession(path);
  ms.push(performance.now() - start);
  const { user, system } = process.cpuUsage(before);
  cpu_ms.push((user + system) / 1000);
  await session.close();
}
process.stdout.write(`${JSON.stringify({ ms, cpu_ms })}\n`);
