// V8's code of the thread that compiles models, beside its bundle: half of the time of a first compilation was V8 reading 400 KB of JavaScript.
import { closeSync, fsyncSync, openSync, readdirSync, renameSync, rmSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { setFlagsFromString } from 'node:v8';

/** A file that is there as a whole or not at all, also after a power cut. */
function write(path, bytes) {
  const file = openSync(`${path}.part`, 'w');
  writeSync(file, bytes);
  fsyncSync(file);
  closeSync(file);
  renameSync(`${path}.part`, path);
}

/** Writes the code for this very Node.js, in place of what is there, and the bundle where it is compressed. @param dist the compiled folder */
export function makeCode(dist) {
  const { bundleFile, codeFile, checksumOf, hasChecksum, readBundle, scriptOf } = createRequire(import.meta.url)(join(dist, 'runtime', 'lower', 'compile-start.bundle.cjs'));
  const source = readBundle();
  // All functions, not only those that have run: which ones a model needs is not known.
  setFlagsFromString('--no-lazy');
  const script = scriptOf(source);
  setFlagsFromString('--lazy');
  const code = script.createCachedData();
  const folder = dirname(codeFile);
  for (const name of readdirSync(folder)) if (name.startsWith(basename(bundleFile, '.cjs')) && name.endsWith('.code')) rmSync(join(folder, name));
  write(bundleFile, source);
  rmSync(`${bundleFile}.gz`, { force: true });
  if (hasChecksum) write(codeFile, Buffer.concat([checksumOf(source, code), code]));
}
