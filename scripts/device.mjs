// `npm run device -- DIR`: lays the daemon out in a folder as systemd/README.md wants it. For machines of this kind (platform, architecture, libc)
// and this major version of Node.
import { resolve, join } from 'node:path';
import { installedSqlite, layOutDevice } from './lib/device-tree.mjs';
import { HOST } from './lib/platforms.mjs';
import { ensureSetup, log, root } from './lib/setup.mjs';

const [target, ...rest] = process.argv.slice(2);
if (target === undefined || rest.length > 0) {
  log('Expected one folder: npm run device -- DIR');
  process.exitCode = 2;
} else {
  try {
    ensureSetup({ everyCpu: true });
    const count = layOutDevice(resolve(target), { platform: HOST, addon: join(root, 'build', 'native-release', 'sterna.node'), sqlite: installedSqlite() });
    log(`${count} files in ${resolve(target)}`);
  } catch (error) {
    log(error.message);
    process.exitCode = 1;
  }
}
