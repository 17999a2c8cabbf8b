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
    const [, script = ''] = /^ExecStart=\/usr\/bin\/node \/usr\/lib\/sterna\/dist\/(agent\/main)\.js --config \/etc\/sterna\/sterna\.yaml$/m.exec(text) ?? [];
    expect(existsSync(resolve(root, `${script}.ts`))).toBe(true);
  });

  it.skipIf(missing)(missing ? 'has an exposure of at most 2.0 (skipped: systemd-analyze is not installed)' : 'has an exposure of at most 2.0', () => {
    const { status, stdout } = spawnSync('systemd-analyze', ['security', '--offline=true', '--threshold=20', '--no-pager', unit], { encoding: 'utf8' });
    expect(status, stdout.split('\n').slice(-3).join('\n')).toBe(0);
  });

  it.skipIf(missing)(missing ? 'of a careless daemon fails that gate (skipped: systemd-analyze is not installed)' : 'of a careless daemon fails that gate', () => {
    const { status } = spawnSync('systemd-analyze', ['security', '--offline=true', '--threshold=20', '--no-pager', resolve(import.meta.dirname, 'support/careless.service')], { encoding: 'utf8' });
    expect(status).not.toBe(0);
  });
});
