// `npm run device -- DIR`: lays the daemon out in a folder as systemd/README.md wants it: compiled code, the addon, and the production
// packages of the lock file without what only a build or a reader needs. For machines of this kind (platform, architecture, libc).
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { ensureSetup, log, root } from './lib/setup.mjs';

const FOLDERS = ['kernels', 'runtime', 'agent'];
/** Declarations, source maps, prose; licences stay. */
const FOR_READERS = /(\.d\.[cm]?ts|\.map|(?<!licen[cs]e|notice|copying)\.(md|markdown))$/i;
/** What compiling better-sqlite3 leaves beside its addon, and the tests of others. */
const FOR_BUILDS = /^node_modules\/(@types\/|undici-types\/|bintrees\/test\/|better-sqlite3\/(deps|src|build\/(?!Release\/better_sqlite3\.node$))\/?)/;

/** Packages that the compiled folders import, by the names in their import statements. The second engine is not for devices. */
function importedPackages() {
  const names = FOLDERS.flatMap((folder) => [...filesBelow(`dist/${folder}`)]).filter((path) => path.endsWith('.js'))
    .flatMap((path) => [...readFileSync(join(root, path), 'utf8').matchAll(/(?:from|import\(|[rR]equire\w*\()\s*['"]((?:@[\w.-]+\/)?[\w-][\w.-]*)/g)].map(([, name]) => name));
  const { packages: { '': { dependencies, peerDependencies } } } = lockFile();
  return [...new Set(names)].filter((name) => name !== 'onnxruntime-node' && (Object.hasOwn(dependencies, name) || Object.hasOwn(peerDependencies, name)));
}

const lockFile = () => JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));

/** Folder of the package that one in `from` gets when it imports `name`, as Node looks for it. */
function resolveFolder(packages, from, name) {
  for (let folder = from; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/node_modules/')))) {
    const path = `${folder === '' ? '' : `${folder}/`}node_modules/${name}`;
    if (Object.hasOwn(packages, path)) return path;
    if (folder === '') return undefined;
  }
}

/** Folders of the packages that the daemon needs, as the lock file names them; optional ones where they are installed. */
function productionPackages() {
  const { packages } = lockFile();
  const found = new Set();
  const visit = (from, names) => {
    for (const path of names.map((name) => resolveFolder(packages, from, name))) {
      if (path === undefined || found.has(path) || !existsSync(join(root, path))) continue;
      found.add(path);
      const { dependencies = {}, optionalDependencies = {} } = packages[path];
      visit(path, Object.keys({ ...dependencies, ...optionalDependencies }));
    }
  };
  visit('', importedPackages());
  return [...found];
}

function* filesBelow(folder) {
  for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
    const path = `${folder}/${entry.name}`;
    // Packages inside a package have rows of their own in the lock file.
    if (entry.isDirectory()) { if (entry.name !== 'node_modules') yield* filesBelow(path); } else yield path;
  }
}

/** Replaces the program below `target`, and nothing else that is there. @returns the number of files */
function installDevice(target) {
  for (const old of ['dist', 'node_modules', 'kernels']) rmSync(join(target, old), { recursive: true, force: true });
  mkdirSync(target, { recursive: true });
  const files = [
    ...FOLDERS.flatMap((folder) => [...filesBelow(`dist/${folder}`)]),
    ...productionPackages().flatMap((folder) => [...filesBelow(folder)]),
  ].filter((path) => !FOR_READERS.test(path) && !FOR_BUILDS.test(path));
  for (const path of ['package.json', 'LICENSE', ...files]) cpSync(join(root, path), join(target, path), { dereference: true });
  const addon = join(target, 'kernels', 'prebuilt', `${process.platform}-${process.arch}`, 'sterna.node');
  cpSync(join(root, 'build', 'native-release', 'sterna.node'), addon);
  return files.length + 3;
}

const [target, ...rest] = process.argv.slice(2);
if (target === undefined || rest.length > 0) {
  log('Expected one folder: npm run device -- DIR');
  process.exitCode = 2;
} else {
  try {
    ensureSetup();
    log(`${installDevice(resolve(target))} files in ${resolve(target)}`);
  } catch (error) {
    log(error.message);
    process.exitCode = 1;
  }
}
