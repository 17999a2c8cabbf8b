// Memory and load time of one engine with one model: `node --expose-gc footprint-child.js ENGINE MODEL`, one JSON object on stdout.
// Nothing is imported before the first measurement that the engine does not need.
import { readFile } from 'node:fs/promises';
import { createSession } from '../../runtime/session.js';
import { randomFeeds } from '../compress/random.js';

const [engine, path = ''] = process.argv.slice(2);
const resident = (): number => {
  globalThis.gc?.();
  return process.memoryUsage.rss();
};

const before = resident();
const session = await createSession(await readFile(path), { engine: engine === 'onnxruntime' ? 'onnxruntime' : 'native' });
const feeds = randomFeeds(session.inputs, 0);
for (let run = 0; run < 5; run++) await session.run(feeds);
process.stdout.write(`${JSON.stringify({ rss_bytes: resident(), rss_before_bytes: before, load_ms: session.stats.loadMs })}\n`);
await session.close();
