// better-sqlite3's addon for another architecture or another Node.js. It uses the interface of V8, so it needs one build for each ABI; and
// SQLite is compiled with it. node-gyp, which is part of npm, builds it as it would at installation.
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { findProgram } from './host.mjs';
import { NODE_HEADERS, nodeHeaders } from './node-releases.mjs';
import { toolFor } from './platforms.mjs';
import { run } from './run.mjs';
import { log, root } from './setup.mjs';

const TOOLS = { CC: 'gcc', CXX: 'g++', LINK: 'g++', AR: 'ar', STRIP: 'strip' };

/** node-gyp of the npm that runs this script, or else of the one in PATH. */
function nodeGyp() {
  const given = process.env.npm_config_node_gyp;
  return given !== undefined && existsSync(given) ? given : join(run('npm', ['root', '-g']).trim(), 'npm', 'node_modules', 'node-gyp', 'bin', 'node-gyp.js');
}

/** Without npm's own settings (`npm run` hands them on): a `nodedir` among them would be stronger than the headers that are asked for. */
const withoutNpm = () => Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name)));

/**
 * Builds the addons unless that is done. With ccache, SQLite itself is compiled once for all of them.
 * @returns by ABI of Node, the path of the stripped addon
 */
export function sqliteAddons(platform, abis = Object.keys(NODE_HEADERS)) {
  const { version } = createRequire(import.meta.url)('better-sqlite3/package.json');
  const compiler = run(toolFor(platform, 'g++'), ['--version']).split('\n')[0];
  return Object.fromEntries(abis.map((abi) => {
    const folder = join(root, 'build', 'better-sqlite3', `${platform}-v${abi}`);
    const product = join(folder, 'better_sqlite3.node');
    const stamp = join(folder, 'stamp');
    const wanted = JSON.stringify([version, compiler, NODE_HEADERS[abi]]);
    if (!existsSync(product) || !existsSync(stamp) || readFileSync(stamp, 'utf8') !== wanted) {
      buildOne(folder, { platform, abi, product });
      writeFileSync(stamp, wanted);
    }
    return [abi, product];
  }));
}

function buildOne(folder, { platform, abi, product }) {
  log(`better-sqlite3 for ${platform}, Node ABI ${abi} ...`);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const parts = ['binding.gyp', 'deps', 'src', 'lib', 'package.json'];
  for (const part of parts) cpSync(join(root, 'node_modules', 'better-sqlite3', part), join(folder, part), { recursive: true });
  // The same path for every ABI, so that commands are equal, as ccache wants them.
  symlinkSync(nodeHeaders(abi), join(folder, 'headers'));
  const cache = findProgram('ccache') ? 'ccache ' : '';
  const tools = Object.fromEntries(Object.entries(TOOLS).map(([name, tool]) => [name, `${/^(CC|CXX)$/.test(name) ? cache : ''}${toolFor(platform, tool)}`]));
  const arch = platform.split('-')[1];
  run(process.execPath, [nodeGyp(), 'rebuild', '--release', `--arch=${arch}`, `--nodedir=${join(folder, 'headers')}`], { cwd: folder, env: { ...withoutNpm(), CCACHE_BASEDIR: folder, CCACHE_NOHASHDIR: '1', ...tools } });
  copyFileSync(join(folder, 'build', 'Release', 'better_sqlite3.node'), product);
  run(tools.STRIP, ['--strip-unneeded', product]);
  for (const part of [...parts, 'build', 'headers']) rmSync(join(folder, part), { recursive: true, force: true });
  const symbols = run('readelf', ['--wide', '--dyn-syms', product]);
  // The name of a symbol tells whose headers were used.
  if (!symbols.includes(`node_register_module_v${abi}`)) throw new Error(`Expected ${product} to be for Node ABI ${abi} but it is not: other headers came first`);
  if (symbols.includes('RemoveEnvironmentCleanupHook')) throw new Error(`The headers of Node.js ${NODE_HEADERS[abi].version} make ${product} abort while objects are collected: choose an earlier release (scripts/lib/node-releases.mjs)`);
}
