// Joins the modules of the thread that compiles models (runtime/lower/compile-worker.ts) into one file: loading some eighty modules one by one took a
// third of the time of a first compile. The native addon stays outside, where kernels/binding/load.ts looks for it. Minified, since the modules
// themselves are beside it to be read: the packed library has to stay below 2 MB.
import { rolldown } from 'rolldown';

const folder = new URL('../dist/runtime/lower/', import.meta.url).pathname;
const outside = (id) => id.startsWith('node:') || /\/kernels\/binding\/index\.js$/.test(id);

const bundle = await rolldown({ input: `${folder}compile-worker.js`, platform: 'node', external: outside });
await bundle.write({ file: `${folder}compile-worker.bundle.js`, format: 'esm', minify: { compress: true, mangle: true, codegen: { removeWhitespace: true } } });
await bundle.close();
