/** Keeps, extends and deletes recordings in the folder of the first argument, until a fault point kills it. */
import { join } from 'node:path';
import { openDatabase } from '../../../agent/platform/database.js';
import { RecordingStore } from '../../../agent/recordings/store.js';

const [folder = ''] = process.argv.slice(2);
const db = openDatabase(join(folder, 'recordings.db'), { durability: 'normal' });
const store = await RecordingStore.open(db, join(folder, 'recordings'), { limits: { maxBytes: 6000, maxAgeMs: Infinity }, now: () => 1e9 });
const first = store.count() === 0 ? 0 : (store.list({}, 1)[0]?.timeMs ?? 0) + 1;
for (let n = first; n < first + 6; n++) {
  const id = `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
  await store.add({ id, timeMs: n, pipeline: 'main', camera: 'door', label: 'face', personId: null, width: 1, height: 1, findings: [] }, new Uint8Array(700).fill(n));
  await store.addClip(id, [{ offsetMs: 0, jpeg: new Uint8Array(500).fill(n) }]);
}
await store.remove({ sinceMs: first + 5 });
db.close();
process.stdout.write('done');
