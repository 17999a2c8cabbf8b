// Builds the native addon of an installed package from the C++ sources in it: `npx sterna build-native`, and at install time where no
// prebuilt addon fits. A checkout has `npm run build`. STERNA_CMAKE_ARGS holds more arguments for CMake, separated by spaces.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';
import { isCheckout, packageRoot } from './lib/checkout.mjs';

const works = (program) => spawnSync(program, ['--version'], { stdio: 'ignore' }).status === 0;

/** What a build needs and this machine lacks, for people. */
export function missingTools() {
  const compiler = process.env.CXX ?? ['c++', 'g++', 'clang++'].find(works);
  const maker = ['ninja', 'make'].find(works);
  return [
    ...(works('cmake') ? [] : ['CMake >= 3.18 (Debian: apt-get install cmake)']),
    ...(compiler === undefined ? ['a C++17 compiler (Debian: apt-get install g++)'] : []),
    ...(maker === undefined ? ['make or ninja (Debian: apt-get install make)'] : []),
  ];
}

function commands(folder) {
  const require = createRequire(import.meta.url);
  const headers = (name) => dirname(require.resolve(`${name}/package.json`));
  const configure = [
    '-S', join(packageRoot, 'kernels'), '-B', folder, '-G', works('ninja') ? 'Ninja' : 'Unix Makefiles', '-DCMAKE_BUILD_TYPE=Release', '-DSTERNA_TESTS=OFF',
    `-DSTERNA_NODE_API_HEADERS=${headers('node-api-headers')}`, `-DSTERNA_NODE_ADDON_API=${headers('node-addon-api')}`,
    ...(process.platform === 'linux' ? ['-DCMAKE_MODULE_LINKER_FLAGS=-s'] : []), ...(process.env.STERNA_CMAKE_ARGS ?? '').split(' ').filter((word) => word !== ''),
  ];
  return [configure, ['--build', folder, '--parallel', String(availableParallelism()), '--target', 'sterna_node']];
}

/**
 * Builds the addon; what the tools print goes to `build/native.log` alone.
 * @returns the addon's path
 */
export function buildAddon() {
  const missing = missingTools();
  if (missing.length > 0) throw new Error(`The native addon cannot be built here. Install ${missing.join(', ')}, then run \`npx sterna build-native\``);
  const work = join(packageRoot, 'build', 'native-source');
  const log = join(packageRoot, 'build', 'native.log');
  const product = join(packageRoot, 'build', 'native-release', 'sterna.node');
  rmSync(work, { recursive: true, force: true });
  mkdirSync(dirname(product), { recursive: true });
  let output = '';
  for (const command of commands(work)) {
    const { status, stdout, stderr } = spawnSync('cmake', command, { encoding: 'utf8', maxBuffer: 1 << 28 });
    output += `$ cmake ${command.join(' ')}\n${stdout}${stderr}`;
    writeFileSync(log, output);
    if (status !== 0) throw new Error(`cmake failed with exit code ${status}; it said (all of it is in ${log}):\n${output.trimEnd().split('\n').slice(-20).join('\n')}`);
  }
  renameSync(join(work, 'sterna.node'), product);
  rmSync(work, { recursive: true, force: true });
  rmSync(log, { force: true });
  return product;
}

/** Whether the addon loads in a process of its own: what is broken must not take this one along. */
export function addonLoads() {
  const check = `import { describeCpu } from ${JSON.stringify(new URL('../dist/kernels/binding/index.js', import.meta.url))}; describeCpu();`;
  return spawnSync(process.execPath, ['--input-type=module', '-e', check], { stdio: 'ignore' }).status === 0;
}

if (existsSync(argv[1] ?? '') && fileURLToPath(import.meta.url) === argv[1]) {
  try {
    if (isCheckout) throw new Error('This is a checkout: `npm run build` builds its addon');
    const { version } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8'));
    process.stderr.write(`sterna: building the native addon of ${version} from source, which takes a minute or two ...\n`);
    process.stderr.write(`sterna: built ${buildAddon()}\n`);
  } catch (error) {
    process.stderr.write(`sterna: ${error.message}\n`);
    process.exitCode = 1;
  }
}
