/** Accepts and gives up overlays in the folder of the first argument until it is killed. It says which is in force, as the daemon would report it. */
import { OverlayFiles } from '../../../agent/adapt/overlay-files.js';
import { contentOf, packageDigest } from './overlays-content.js';

const files = new OverlayFiles(process.argv[2] ?? '');
for (let n = 0; ; n++) {
  await files.write(packageDigest, contentOf(n));
  process.stdout.write(`${n}\n`);
  await files.remove(packageDigest);
  process.stdout.write('none\n');
}
