// The daemon laid out in a folder: compiled code, the addon, programs to start, and the production packages of the lock file without what only a
// build or a reader needs. Parts of another architecture come from the registry.
import { chmodSync, copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { unpackedPackage } from './npm-tarball.mjs';
import { root } from './setup.mjs';

const FOLDERS = ['kernels', 'runtime', 'agent'];
/** Shell programs, in systemd/bin of the checkout and bin of the folder. */
const PROGRAMS = ['node', 'sterna', 'sternad'];
/** Declarations, source maps, prose, V8's code for the Node.js of this machine; licences stay. */
const FOR_READERS = /(\.d\.[cm]?ts|\.map|\.code|(?<!licen[cs]e|notice|copying)\.(md|markdown))$/i;
/** What compiling better-sqlite3 leaves beside its addon, the tests of others, and the settings of other people's tools. */
const FOR_BUILDS = /^node_modules\/(@types\/|undici-types\/|bintrees\/test\/|better-sqlite3\/(deps|src|build|binding\.gyp)\b|.*\/\.(eslint|editorconfig|git|github|npmignore|nycrc|travis|prettier)[^/]*(\/|$))/;

/** Dependencies of others that work only while npm installs. */
const FOR_INSTALLATION = new Set(['prebuild-install']);

const lockFile = () => JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));

/** Paths of the files below a folder, which is given from `base`. Packages inside a package have rows of their own in the lock file. */
function* filesBelow(base, folder) {
  for (const entry of readdirSync(join(base, folder), { withFileTypes: true })) {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
    if (entry.isDirectory()) { if (entry.name !== 'node_modules') yield* filesBelow(base, path); } else yield path;
  }
}

/** Packages that the compiled folders import, by the names in their import statements. The second engine is not for devices. */
function importedPackages() {
  const names = FOLDERS.flatMap((folder) => [...filesBelow(root, `dist/${folder}`)]).filter((path) => path.endsWith('.js'))
    .flatMap((path) => [...readFileSync(join(root, path), 'utf8').matchAll(/(?:from|import\(|[rR]equire\w*\()\s*['"]((?:@[\w.-]+\/)?[\w-][\w.-]*)/g)].map(([, name]) => name));
  const { packages: { '': { dependencies, peerDependencies } } } = lockFile();
  return [...new Set(names)].filter((name) => name !== 'onnxruntime-node' && (Object.hasOwn(dependencies, name) || Object.hasOwn(peerDependencies, name)));
}

/** Folder of the package that one in `from` gets when it imports `name`, as Node looks for it. */
function resolveFolder(packages, from, name) {
  for (let folder = from; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/node_modules/')))) {
    const path = `${folder === '' ? '' : `${folder}/`}node_modules/${name}`;
    if (Object.hasOwn(packages, path)) return path;
    if (folder === '') return undefined;
  }
}

/** Whether npm would install a package on a platform with glibc. */
function fits({ os, cpu, libc }, platform) {
  const [wantedOs, wantedCpu] = platform.split('-');
  return (os?.includes(wantedOs) ?? true) && (cpu?.includes(wantedCpu) ?? true) && (libc?.includes('glibc') ?? true);
}

/** The packages that the daemon needs on a platform: the folder as the lock file names it, and where its files are. */
export function productionPackages(platform) {
  const { packages } = lockFile();
  const found = new Map();
  const visit = (from, names) => {
    for (const path of names.map((name) => resolveFolder(packages, from, name))) {
      if (path === undefined || found.has(path) || !fits(packages[path], platform)) continue;
      const { version, integrity, license, dependencies = {}, optionalDependencies = {} } = packages[path];
      const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
      const source = existsSync(join(root, path)) ? join(root, path) : unpackedPackage({ name, version, integrity });
      found.set(path, { path, name, version, license, source });
      visit(path, Object.keys({ ...dependencies, ...optionalDependencies }).filter((wanted) => !FOR_INSTALLATION.has(wanted)));
    }
  };
  visit('', importedPackages());
  return [...found.values()];
}

/** Node starts scripts by name, so none of them has to be executable. */
function copy(from, to) {
  mkdirSync(dirname(to), { recursive: true });
  copyFileSync(from, to);
  chmodSync(to, 0o644);
}

/**
 * Replaces the program below `target`, and nothing else that is there.
 * @param addon path of the native addon for the platform
 * @param sqlite better-sqlite3's addons: by ABI of Node, the path
 * @returns the number of files
 */
export function layOutDevice(target, { platform, addon, sqlite }) {
  for (const old of ['dist', 'node_modules', 'kernels']) rmSync(join(target, old), { recursive: true, force: true });
  mkdirSync(target, { recursive: true });
  const files = [
    ...['package.json', 'LICENSE', ...FOLDERS.flatMap((folder) => [...filesBelow(root, `dist/${folder}`)])].map((path) => [path, join(root, path)]),
    ...productionPackages(platform).flatMap(({ path, source }) => [...filesBelow(source, '')].map((file) => [`${path}/${file}`, join(source, file)])),
  ].filter(([path]) => !FOR_READERS.test(path) && !FOR_BUILDS.test(path));
  for (const [path, source] of files) copy(source, join(target, path));
  copy(addon, join(target, 'kernels', 'prebuilt', platform, 'sterna.node'));
  for (const [abi, path] of Object.entries(sqlite)) {
    // Where the package `bindings` looks for builds of several ABIs.
    copy(path, join(target, 'node_modules', 'better-sqlite3', 'lib', 'binding', `node-v${abi}-${platform}`, 'better_sqlite3.node'));
  }
  for (const name of PROGRAMS) {
    cpSync(join(root, 'systemd', 'bin', name), join(target, 'bin', name));
    chmodSync(join(target, 'bin', name), 0o755);
  }
  return files.length + 1 + Object.keys(sqlite).length + PROGRAMS.length;
}

/** better-sqlite3's addon as this checkout's installation built or fetched it: for this machine's platform, and the ABI of this Node. */
export const installedSqlite = () => ({ [process.versions.modules]: join(root, 'node_modules', 'better-sqlite3', 'build', 'Release', 'better_sqlite3.node') });
