import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { minifySync } from 'rolldown/experimental';

/** Takes comments and white space out of every script below a folder, simplifies expressions and shortens names of variables. Names of functions, classes and exports stay, so that stack traces can be read. */
export function minify(folder) {
  for (const name of readdirSync(folder, { recursive: true }).filter((file) => /\.m?js$/.test(file) && !file.endsWith('.bundle.js'))) {
    const file = join(folder, name);
    const { code, errors } = minifySync(name, readFileSync(file, 'utf8'), { module: true, compress: true, mangle: { toplevel: true, keepNames: { function: true, class: true } }, codegen: { removeWhitespace: true } });
    if (errors.length > 0) throw new Error(`${name} could not be minified: ${errors[0].message}`);
    writeFileSync(file, code);
  }
}
