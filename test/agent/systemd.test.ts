import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const unit = resolve(root, 'systemd/sternad.service');
const text = readFileSync(unit, 'utf8');
const missing = spawnSync('systemd-analyze', ['--version']).error !== undefined;

describe('the unit file', () => {
  it('starts the daemon\'s own entry', () => {
    expect(text).toMatch(/^ExecStart=\/usr\/bin\/sternad --config \/etc\/sterna\/sterna\.yaml$/m);
    const [, script = ''] = /^exec "\$folder\/bin\/node" "\$folder\/dist\/(agent\/main)\.js" "\$@"$/m.exec(readFileSync(resolve(root, 'systemd/bin/sternad'), 'utf8')) ?? [];
    expect(existsSync(resolve(root, `${script}.ts`))).toBe(true);
  });

  it('names documentation that the Debian package brings', () => {
    const named = /^Documentation=(.+)$/m.exec(text)?.[1]?.split(' ').filter((uri) => uri.startsWith('file:')) ?? [];
    const packaging = readFileSync(resolve(root, 'scripts/package-deb.mjs'), 'utf8');
    expect(named).not.toEqual([]);
    for (const uri of named) expect(packaging).toContain(`'${uri.slice('file:/'.length)}'`);
  });

  it.skipIf(missing)(missing ? 'has an exposure of at most 1.5 (skipped: systemd-analyze is not installed)' : 'has an exposure of at most 1.5', () => {
    const { status, stdout } = spawnSync('systemd-analyze', ['security', '--offline=true', '--threshold=15', '--no-pager', unit], { encoding: 'utf8' });
    expect(status, stdout.split('\n').slice(-3).join('\n')).toBe(0);
  });

  it('lets the daemon have its cameras, microphones, firmware and energy counters', () => {
    for (const device of ['char-video4linux', 'char-alsa', '/dev/vcio']) expect(text).toMatch(new RegExp(`^DeviceAllow=${device} rw?$`, 'm'));
    expect(text).toMatch(/^SupplementaryGroups=video audio sterna-energy$/m);
    // `tmpfs` over /sys, or only processes in /proc, would hide sensors and memory.
    expect(text).not.toMatch(/^(ProcSubset=pid|InaccessiblePaths=.*\/sys|PrivateDevices=yes)$/m);
  });

  it.skipIf(missing)(missing ? 'of a careless daemon fails that gate (skipped: systemd-analyze is not installed)' : 'of a careless daemon fails that gate', () => {
    const { status } = spawnSync('systemd-analyze', ['security', '--offline=true', '--threshold=15', '--no-pager', resolve(import.meta.dirname, 'support/careless.service')], { encoding: 'utf8' });
    expect(status).not.toBe(0);
  });
});
