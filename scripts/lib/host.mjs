// What this machine has, and how to get what it lacks.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Full path of a program on PATH, or undefined. */
export function findProgram(name) {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(folder, name);
    if (folder && existsSync(path)) return path;
  }
  return undefined;
}

/** Tools by the Debian package that brings them, and the command for other systems. */
const TOOLS = {
  'g++': { debian: 'g++', other: 'install a C++17 compiler (Fedora: dnf install gcc-c++; macOS: xcode-select --install)' },
  make: { debian: 'make', other: 'install GNU make' },
  cmake: { debian: 'cmake', other: 'install CMake >= 3.20 (https://cmake.org/download)' },
  ffmpeg: { debian: 'ffmpeg', other: 'install ffmpeg (https://ffmpeg.org/download.html)' },
};

function isDebianRoot() {
  return existsSync('/etc/debian_version') && process.getuid?.() === 0 && findProgram('apt-get') !== undefined;
}

function aptInstall(packages, log) {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const apt = (...args) => spawnSync('apt-get', args, { env, stdio: ['ignore', 'ignore', 'inherit'] }).status === 0;
  log(`installing Debian packages: ${packages.join(' ')}`);
  return apt('install', '-y', '-qq', '--no-install-recommends', ...packages)
    || (apt('update', '-qq') && apt('install', '-y', '-qq', '--no-install-recommends', ...packages));
}

/**
 * Makes sure that the named tools are there: installs them on Debian as root, else throws an error that names each with
 * the command that installs it. Optional ones are only tried.
 */
export function requireTools(names, log, { optional = false } = {}) {
  let missing = names.filter((name) => !findProgram(name));
  if (missing.length > 0 && isDebianRoot() && aptInstall(missing.map((name) => TOOLS[name].debian), log)) {
    missing = missing.filter((name) => !findProgram(name));
  }
  if (missing.length === 0 || optional) return missing;
  const debian = existsSync('/etc/debian_version');
  const remedy = debian
    ? `  sudo apt-get install ${missing.map((name) => TOOLS[name].debian).join(' ')}`
    : missing.map((name) => `  ${name}: ${TOOLS[name].other}`).join('\n');
  throw new Error(`Missing: ${missing.join(', ')}. Install with\n${remedy}`);
}

export function requireNode(minimumMajor) {
  const major = Number(process.versions.node.split('.')[0]);
  if (major < minimumMajor) {
    throw new Error(`Expected Node.js >= ${minimumMajor} but this is ${process.versions.node}. Install it from https://nodejs.org or with nvm.`);
  }
}
