// `npm run reference`: writes the reference pages from the code (scripts/lib/reference/pages.mjs). With `--check` it writes nothing and
// fails when a page is out of date.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensureSetup, log, root } from './lib/setup.mjs';
import { pages } from './lib/reference/pages.mjs';

ensureSetup();
const check = process.argv.includes('--check');
for (const [path, write] of Object.entries(pages)) {
  const [file, text] = [join(root, path), await write()];
  if (existsSync(file) && readFileSync(file, 'utf8') === text) continue;
  if (check) {
    log(`${path} is out of date: run npm run reference`);
    process.exitCode = 1;
  } else {
    writeFileSync(file, text);
    log(`${path} written`);
  }
}
