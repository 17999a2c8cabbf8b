// A Debian package from a tree of files: control fields, dependencies on system libraries, checksums, equal bytes for equal input.
import { createHash } from 'node:crypto';
import { chmodSync, lstatSync, lutimesSync, mkdirSync, openSync, readSync, closeSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { gzipSync } from 'node:zlib';
import { run } from './run.mjs';

/** Versions of libstdc++6 by its newest symbol version, GLIBCXX_3.4.N (GCC manual, "ABI Policy and Guidelines"). */
const LIBSTDCXX = { 26: 9, 28: 9, 29: 11, 30: 12, 31: 13, 32: 13, 33: 14 };

export function writeFile(path, content, mode = 0o644) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  chmodSync(path, mode);
}

/** As Debian's policy wants documents: compressed, without a name and a time inside. */
export const compressed = (text) => gzipSync(text, { level: 9 });

/** Everything below a folder, it included, parents first. */
function* entriesBelow(folder) {
  yield { path: folder, kind: 'folder' };
  for (const entry of readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* entriesBelow(path);
    else yield { path, kind: entry.isSymbolicLink() ? 'link' : 'file' };
  }
}

const filesBelow = (folder) => [...entriesBelow(folder)].filter(({ kind }) => kind === 'file').map(({ path }) => path);

function isElf(path) {
  const head = Buffer.alloc(4);
  const file = openSync(path, 'r');
  try {
    return readSync(file, head) === 4 && head.equals(Buffer.from('\x7fELF', 'latin1'));
  } finally {
    closeSync(file);
  }
}

/** The largest of dotted versions. */
const newest = (versions) => [...versions].sort((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1);

/** What the programs and libraries of a tree need of the system's libraries, as `Depends` states it. */
export function libraryDependencies(folder) {
  const needs = filesBelow(folder).filter(isElf).map((path) => run('readelf', ['--wide', '--dynamic', '--version-info', path])).join('\n');
  const symbols = (name) => newest(new Set([...needs.matchAll(new RegExp(`Name: ${name}_([\\d.]+)`, 'g'))].map(([, version]) => version)));
  const glibc = symbols('GLIBC');
  const cxx = symbols('GLIBCXX');
  const major = Object.entries(LIBSTDCXX).find(([minor]) => Number(minor) >= Number(cxx?.split('.')[2] ?? 0))?.[1];
  if (cxx !== undefined && major === undefined) throw new Error(`Expected GLIBCXX_3.4.${Object.keys(LIBSTDCXX).at(-1)} at most but a library needs GLIBCXX_${cxx}: add its release of libstdc++6 to scripts/lib/deb.mjs`);
  return [
    ...(glibc === undefined ? [] : [`libc6 (>= ${glibc})`]),
    ...(cxx === undefined ? [] : [`libstdc++6 (>= ${major})`]),
    ...(needs.includes('[libgcc_s.so.1]') ? ['libgcc-s1'] : []),
    ...(needs.includes('[libatomic.so.1]') ? ['libatomic1'] : []),
  ];
}

function md5sums(folder) {
  return filesBelow(folder).map((path) => `${createHash('md5').update(readFileSync(path)).digest('hex')}  ${relative(folder, path)}\n`).join('');
}

/** Modes without the umask of whoever builds, and one time for everything. */
function settle(folder, epoch) {
  for (const { path, kind } of [...entriesBelow(folder)].reverse()) {
    if (kind !== 'link') chmodSync(path, kind === 'folder' || (lstatSync(path).mode & 0o100) !== 0 ? 0o755 : 0o644);
    lutimesSync(path, epoch, epoch);
  }
}

/**
 * Builds `NAME_VERSION_ARCH.deb` in `out` from a tree that has everything but DEBIAN/.
 * @param fields control fields; `Description` with its long text
 * @param scripts maintainer scripts by name
 * @param compression dpkg-deb's options for it
 * @returns the file's path
 */
export function buildDeb(tree, { out, fields, scripts = {}, epoch, compression = ['-Zxz'] }) {
  const kib = [...entriesBelow(tree)].reduce((sum, { path, kind }) => sum + (kind === 'file' ? Math.ceil(lstatSync(path).size / 1024) : 1), 0);
  const sums = md5sums(tree);
  const control = Object.entries({ ...fields, 'Installed-Size': kib }).map(([name, value]) => `${name}: ${value}\n`).join('');
  writeFile(join(tree, 'DEBIAN', 'control'), control);
  writeFile(join(tree, 'DEBIAN', 'md5sums'), sums);
  for (const [name, text] of Object.entries(scripts)) writeFile(join(tree, 'DEBIAN', name), text, 0o755);
  settle(tree, epoch);
  mkdirSync(out, { recursive: true });
  const file = join(out, `${fields.Package}_${fields.Version}_${fields.Architecture}.deb`);
  rmSync(file, { force: true });
  run('dpkg-deb', ['--build', '--root-owner-group', ...compression, tree, file], { env: { ...process.env, SOURCE_DATE_EPOCH: String(epoch) } });
  return file;
}
