// Joins the modules of the thread that compiles models (runtime/lower/compile-worker.ts), and of the process that adapts thresholds
// (agent/inference/adapt-main.ts), into one file each: loading some eighty modules one by one took a third of the time of a first compile, and the
// modules of the process took 10 MB more than its file does. The native addon stays outside, where kernels/binding/load.ts looks for it. Minified,
// since the modules themselves are beside it to be read.
import { readFileSync, writeFileSync } from 'node:fs';
import { rolldown } from 'rolldown';

const dist = new URL('../dist/', import.meta.url).pathname;
// onnxruntime-node is optional, and is imported by who asks for it.
const outside = (id) => id.startsWith('node:') || id === 'onnxruntime-node' || /\/kernels\/binding\/index\.js$/.test(id);

/** One character beyond ASCII makes V8 keep the whole source with two bytes a character. */
const ascii = (code) => code.replace(/[^\x00-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);

for (const name of ['runtime/lower/compile-worker', 'agent/inference/adapt-main']) {
  const file = `${dist}${name}.bundle.js`;
  const bundle = await rolldown({ input: `${dist}${name}.js`, platform: 'node', external: outside });
  await bundle.write({ file, format: 'esm', codeSplitting: false, minify: { compress: true, mangle: true, codegen: { removeWhitespace: true } } });
  await bundle.close();
  writeFileSync(file, ascii(readFileSync(file, 'utf8')));
}
