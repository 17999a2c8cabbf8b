// The platforms that releases are made for: how each one's addon is built on this machine, and what its packages are called.
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram } from './host.mjs';
import { run } from './run.mjs';
import { buildNative, root } from './setup.mjs';

/** By platform: Debian's name of the architecture, and the prefix of the tools that build for it on a machine of another architecture. */
export const PLATFORMS = {
  'linux-x64': { debian: 'amd64', tools: 'x86_64-linux-gnu-' },
  'linux-arm64': { debian: 'arm64', tools: 'aarch64-linux-gnu-', toolchain: 'aarch64.cmake' },
};
export const HOST = `${process.platform}-${process.arch}`;

/** The name of a tool (`g++`, `strip`) for a platform. Throws an Error that says how to install it where it is missing. */
export function toolFor(platform, tool) {
  const name = platform === HOST ? tool : `${PLATFORMS[platform].tools}${tool}`;
  if (!findProgram(name)) throw new Error(`${name} not found, which a release for ${platform} needs; Debian: apt-get install ${platform === HOST ? 'g++ binutils' : 'g++-aarch64-linux-gnu'}`);
  return name;
}

/** The addon of a platform, stripped, at `target`. */
export function makeAddon(platform, target) {
  const { toolchain } = PLATFORMS[platform];
  if (platform !== HOST && toolchain === undefined) throw new Error(`${platform} cannot be built on ${HOST}`);
  const strip = toolFor(platform, 'strip');
  if (platform !== HOST) toolFor(platform, 'g++');
  const folder = platform === HOST ? join(root, 'build', 'native-release') : buildNative(`pack-${platform}`, [
    '-DCMAKE_BUILD_TYPE=Release', '-DSTERNA_TESTS=OFF', `-DCMAKE_TOOLCHAIN_FILE=${join(root, 'kernels', 'cmake', toolchain)}`,
  ], ['sterna_node']);
  copyFileSync(join(folder, 'sterna.node'), target);
  run(strip, ['--strip-unneeded', target]);
}
