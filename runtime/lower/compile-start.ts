// The first file of the thread that compiles models: it runs the bundle of compile-worker.ts. scripts/bundle-worker.mjs makes both CommonJS, since a
// thread that loads no ES module starts 5 ms sooner.
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { Script } from 'node:vm';
import { isMainThread } from 'node:worker_threads';
import zlib from 'node:zlib';

const checksumBytes = 8;

/** In the npm package it is compressed until it is installed: all its modules are there once more, for who compiles on a thread of their own. */
export const bundleFile: string = fileURLToPath(new URL('./compile-worker.bundle.cjs', import.meta.url));

/**
 * What V8 made of the bundle when that was built or installed, behind a checksum. It is as much to be trusted as the bundle beside it: who may write the one
 * may write the other. Each version of Node.js needs its own.
 */
export const codeFile: string = fileURLToPath(new URL(`./compile-worker.bundle.${process.version}-${process.arch}.code`, import.meta.url));

/** Whether this Node.js has a checksum that costs next to nothing (20.15, 22.2); it is compiled as it comes where not. */
export const hasChecksum: boolean = typeof zlib.crc32 === 'function';

/** Of a bundle and its code: V8 ends the process over code with a wrong bit, and takes that of any source of the same length. */
export function checksumOf(source: Uint8Array, code: Uint8Array): Buffer {
  const checksum = Buffer.alloc(checksumBytes);
  checksum.writeUInt32LE(zlib.crc32(source), 0);
  checksum.writeUInt32LE(zlib.crc32(code), 4);
  return checksum;
}

/** The code of a bundle as a file has it; undefined where it is not of this bundle, or damaged. */
export function checkedCode(source: Uint8Array, file: Buffer): Buffer | undefined {
  const code = file.subarray(checksumBytes);
  return hasChecksum && checksumOf(source, code).equals(file.subarray(0, checksumBytes)) ? code : undefined;
}

function storedCode(source: Uint8Array): Buffer | undefined {
  try {
    return checkedCode(source, readFileSync(codeFile));
  } catch {
    return undefined; // installed without scripts, or for another Node.js
  }
}

/** The bundle: a function of what a CommonJS module is given. */
export const scriptOf = (source: Buffer, cachedData?: Buffer): Script =>
  new Script(source.toString('latin1'), { filename: bundleFile, ...(cachedData === undefined ? {} : { cachedData }) });

/** The text of the bundle. */
export const readBundle = (): Buffer => (existsSync(bundleFile) ? readFileSync(bundleFile) : zlib.gunzipSync(readFileSync(`${bundleFile}.gz`)));

function start(): void {
  const source = readBundle();
  const run = scriptOf(source, storedCode(source)).runInThisContext() as (require: NodeJS.Require, file: string) => void;
  run(createRequire(import.meta.url), bundleFile);
}

if (!isMainThread) start();
