// A Debian root to install packages in: made by mmdebstrap, kept as a tarball, unpacked for each test. Needs root (mounts and chroot); another
// architecture also needs qemu-user-static, registered with binfmt_misc.
import { spawn, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findProgram } from './host.mjs';
import { HOST, PLATFORMS } from './platforms.mjs';
import { run } from './run.mjs';
import { log, root } from './setup.mjs';

const MIRROR = process.env.STERNA_DEBIAN_MIRROR ?? 'http://deb.debian.org/debian';

/** Why no root of an architecture can be used here; undefined when it can. */
export function missingForRoots(arch) {
  if (process.getuid?.() !== 0) return 'it needs root, for mounts and chroot';
  if (!findProgram('mmdebstrap')) return 'mmdebstrap is not installed';
  if (arch !== PLATFORMS[HOST]?.debian && !existsSync(`/proc/sys/fs/binfmt_misc/qemu-${arch === 'arm64' ? 'aarch64' : 'x86_64'}`)) {
    return `${arch} programs do not run here: install qemu-user-static and binfmt-support, and mount binfmt_misc on /proc/sys/fs/binfmt_misc`;
  }
  return undefined;
}

/** The tarball of a minimal root, from the cache or made now. */
function rootTarball(suite, arch) {
  const file = join(root, '.cache', 'debian', `${suite}-${arch}.tar`);
  if (existsSync(file)) return file;
  log(`making a root of Debian ${suite}, ${arch} ...`);
  mkdirSync(join(root, '.cache', 'debian'), { recursive: true });
  run('mmdebstrap', ['--variant=minbase', `--arch=${arch}`, suite, `${file}.part.tar`, MIRROR], { stdio: ['ignore', 'pipe', 'pipe'] });
  renameSync(`${file}.part.tar`, file);
  return file;
}

/** An unpacked root. `run` and `start` run programs in it, over the network of this machine. */
export class DebianRoot {
  constructor(suite, arch) {
    const tarball = rootTarball(suite, arch);
    this.path = mkdtempSync(join(tmpdir(), 'sterna-debian-'));
    run('tar', ['-xf', tarball, '-C', this.path]);
    run('mount', ['-t', 'proc', 'proc', join(this.path, 'proc')]);
    copyFileSync('/etc/resolv.conf', join(this.path, 'etc', 'resolv.conf'));
    writeFileSync(join(this.path, 'usr', 'sbin', 'policy-rc.d'), '#!/bin/sh\nexit 101\n', { mode: 0o755 });
    for (const proxy of ['http_proxy', 'https_proxy']) if (process.env[proxy]) writeFileSync(join(this.path, 'etc', 'apt', 'apt.conf.d', `proxy-${proxy}`), `Acquire::${proxy.split('_')[0]}::Proxy "${process.env[proxy]}";\n`);
  }

  /** A path as this machine sees it. */
  at(...parts) {
    return join(this.path, ...parts);
  }

  /** @returns {status, stdout, stderr} */
  run(...command) {
    return spawnSync('chroot', [this.path, ...command], { encoding: 'utf8', maxBuffer: 1 << 28, env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C.UTF-8' } });
  }

  /** As `run`; throws an Error with the output when the command fails. */
  must(...command) {
    const { status, stdout, stderr } = this.run(...command);
    if (status !== 0) throw new Error(`${command.join(' ')} failed with ${status}:\n${`${stdout}${stderr}`.split('\n').slice(-30).join('\n')}`);
    return stdout;
  }

  /** A process as the user nobody with the groups that the unit names. */
  start(command, env) {
    return spawn('chroot', ['--userspec=nobody:nogroup', '--groups=video,audio,sterna-energy', this.path, ...command], {
      stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', ...env },
    });
  }

  remove() {
    spawnSync('umount', [join(this.path, 'proc')]);
    rmSync(this.path, { recursive: true, force: true });
  }
}
