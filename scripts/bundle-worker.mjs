// Joins the modules of the thread that compiles models (runtime/lower/compile-worker.ts), and of the process that adapts thresholds
// (agent/inference/adapt-main.ts), into one file each: loading some eighty modules one by one took a third of the time of a first compile, and the
// modules of the process took 10 MB more than its file does. Minified, since the modules themselves are beside it to be read.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';
import { makeCode } from './lib/code-cache.mjs';

const dist = fileURLToPath(new URL('../dist/', import.meta.url));
// onnxruntime-node is optional, and is imported by who asks for it.
const outside = (id) => id.startsWith('node:') || id === 'onnxruntime-node';

/** One character beyond ASCII makes V8 keep the whole source with two bytes a character. */
const ascii = (code) => code.replace(/[^\x00-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);

async function join(name, file, format, external) {
  const bundle = await rolldown({ input: `${dist}${name}.js`, platform: 'node', external });
  await bundle.write({ file: `${dist}${file}`, format, codeSplitting: false, minify: { compress: true, mangle: true, codegen: { removeWhitespace: true } } });
  await bundle.close();
  return ascii(readFileSync(`${dist}${file}`, 'utf8'));
}

const worker = 'runtime/lower/compile-worker.bundle.cjs';
await join('runtime/lower/compile-start', 'runtime/lower/compile-start.bundle.cjs', 'cjs', outside);
// A function of what a CommonJS module is given.
writeFileSync(`${dist}${worker}`, `(function (require, __filename) {${await join('runtime/lower/compile-worker', worker, 'cjs', outside)}\n})`);
makeCode(dist);

// The native addon stays outside, where kernels/binding/load.ts looks for it.
const adapt = 'agent/inference/adapt-main.bundle.js';
writeFileSync(`${dist}${adapt}`, await join('agent/inference/adapt-main', adapt, 'esm', (id) => outside(id) || /\/kernels\/binding\/index\.js$/.test(id)));
