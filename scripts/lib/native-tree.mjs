// What a CMake tree was configured from. CMake remembers the folder of the sources and the compiler: in a copied or moved checkout it would go
// on to compile the old folder's sources, and with a new compiler it would mix objects of both.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const stampOf = (folder) => join(folder, '.sterna-toolchain');

/** What a tree was configured with; undefined when it was not. */
export function cachedIn(folder, name) {
  const file = join(folder, 'CMakeCache.txt');
  if (!existsSync(file)) return undefined;
  const cache = readFileSync(file, 'utf8');
  return new RegExp(`^${name}:[A-Z]+=(.*)$`, 'm').exec(cache)?.[1];
}

/** The first line that the compiler says of itself: its name and version. '' when the cache names none, since a toolchain file does. */
function versionOf(compiler) {
  if (compiler === undefined) return '';
  return spawnSync(compiler, ['--version'], { encoding: 'utf8' }).stdout?.split('\n')[0] ?? '';
}

/** Why the tree cannot be built any more, or undefined. `sources` is the folder of CMakeLists.txt. */
export function whyStale(folder, sources, environment = process.env) {
  if (!existsSync(join(folder, 'CMakeCache.txt'))) return undefined;
  const home = cachedIn(folder, 'CMAKE_HOME_DIRECTORY'), compiler = cachedIn(folder, 'CMAKE_CXX_COMPILER');
  if (home !== sources) return `it was configured for ${home ?? 'no folder'}`;
  if (cachedIn(folder, 'CMAKE_CACHEFILE_DIR') !== folder) return `it was configured in ${cachedIn(folder, 'CMAKE_CACHEFILE_DIR')}`;
  if (compiler !== undefined && !existsSync(compiler)) return `its compiler ${compiler} is gone`;
  if (!existsSync(stampOf(folder))) return undefined;
  const stamp = JSON.parse(readFileSync(stampOf(folder), 'utf8'));
  if (stamp.CXX !== (environment.CXX ?? '')) return `CXX was "${stamp.CXX}" then`;
  return stamp.version === versionOf(compiler) ? undefined : `its compiler was ${stamp.version} then`;
}

/** Removes a tree that cannot be built any more. @returns why, or undefined when nothing was removed */
export function removeStale(folder, sources) {
  const reason = whyStale(folder, sources);
  if (reason !== undefined) rmSync(folder, { recursive: true, force: true });
  return reason;
}

/** To be called when the tree has been configured. */
export function rememberToolchain(folder, environment = process.env) {
  mkdirSync(folder, { recursive: true });
  writeFileSync(stampOf(folder), JSON.stringify({ CXX: environment.CXX ?? '', version: versionOf(cachedIn(folder, 'CMAKE_CXX_COMPILER')) }));
}
