// better-sqlite3's addon for another architecture or another Node.js. It uses the interface of V8, so it needs one build for each ABI; and
// SQLite is compiled with it. node-gyp, which is part of npm, builds it as it would at installation.
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { run } from './npm-tarball.mjs';
import { nodeHeaders } from './node-releases.mjs';
import { toolFor } from './platforms.mjs';
import { log, root } from './setup.mjs';

/** node-gyp of the npm that runs this script, or else of the one in PATH. */
function nodeGyp() {
  const given = process.env.npm_config_node_gyp;
  return given !== undefined && existsSync(given) ? given : join(run('npm', ['root', '-g']).trim(), 'npm', 'node_modules', 'node-gyp', 'bin', 'node-gyp.js');
}

/** Builds the addon unless that is done. @returns path of the stripped addon */
export function sqliteAddon(platform, abi) {
  const source = join(root, 'node_modules', 'better-sqlite3');
  const { version } = createRequire(import.meta.url)('better-sqlite3/package.json');
  const headers = nodeHeaders(abi);
  const folder = join(root, 'build', 'better-sqlite3', `${platform}-v${abi}`);
  const product = join(folder, 'better_sqlite3.node');
  const stamp = join(folder, 'stamp');
  const wanted = `${version} ${run(toolFor(platform, 'g++'), ['--version']).split('\n')[0]} ${headers}`;
  if (existsSync(product) && existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return product;
  log(`better-sqlite3 for ${platform}, Node ABI ${abi} ...`);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const part of ['binding.gyp', 'deps', 'src', 'lib', 'package.json']) cpSync(join(source, part), join(folder, part), { recursive: true });
  const tools = Object.fromEntries([['CC', 'gcc'], ['CXX', 'g++'], ['LINK', 'g++'], ['AR', 'ar'], ['STRIP', 'strip']].map(([name, tool]) => [name, toolFor(platform, tool)]));
  const arch = platform.split('-')[1];
  run(process.execPath, [nodeGyp(), 'rebuild', '--release', `--arch=${arch}`, `--nodedir=${headers}`], { cwd: folder, env: { ...process.env, ...tools } });
  copyFileSync(join(folder, 'build', 'Release', 'better_sqlite3.node'), product);
  run(tools.STRIP, ['--strip-unneeded', product]);
  for (const part of ['binding.gyp', 'deps', 'src', 'lib', 'build']) rmSync(join(folder, part), { recursive: true, force: true });
  writeFileSync(stamp, wanted);
  return product;
}

