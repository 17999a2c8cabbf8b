import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { projectFolder } from '../../../deploy/demo/folder.js';
import { loginOf } from '../../../agent/mqtt/login.js';
import { temporaryFolder } from '../support/tools.js';

const root = process.getuid?.() === 0;

/** A configuration folder whose key is root's, and the credential that systemd makes of it. */
function provisioned(): { key: string; credentials: string } {
  const folder = temporaryFolder();
  const [key, credentials] = [join(folder, 'device.key'), join(folder, 'credentials')];
  writeFileSync(key, 'of the file', { mode: 0o600 });
  mkdirSync(credentials);
  writeFileSync(join(credentials, 'device.key'), 'of the credential');
  for (const path of [folder, credentials]) chmodSync(path, 0o755);
  chmodSync(join(credentials, 'device.key'), 0o644);
  return { key, credentials };
}

describe('the login of a device', () => {
  it('reads its key from the file that the configuration names, also where a credential has the same name', () => {
    const { key, credentials } = provisioned();
    const { key: text } = loginOf({ url: null, protocol: 'auto', keepalive_s: 30, tls: { cert: key, key } }, { CREDENTIALS_DIRECTORY: credentials });
    expect(String(text)).toBe('of the file');
  });

  it.skipIf(!root)(`takes the credential where the file is closed to the daemon's user${root ? '' : ' (skipped: needs root, to become another user)'}`, () => {
    const { key, credentials } = provisioned();
    const program = `process.setgid(65534); process.setuid(65534);
      const { loginOf } = await import(${JSON.stringify(join(projectFolder(), 'dist', 'agent', 'mqtt', 'login.js'))}).catch(() => process.exit(3));
      const key = ${JSON.stringify(key)};
      const read = (env) => String(loginOf({ url: null, protocol: 'auto', keepalive_s: 30, tls: { cert: '/dev/null', key } }, env).key);
      try { read({}); } catch (error) { console.log(error.code); }
      console.log(read({ CREDENTIALS_DIRECTORY: ${JSON.stringify(credentials)} }));`;
    expect(spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' })).toMatchObject({ status: 0, stdout: 'EACCES\nof the credential\n' });
  });

  it('fails with the name of the file when there is neither', () => {
    expect(() => loginOf({ url: null, protocol: 'auto', keepalive_s: 30, password_file: '/none/mqtt.password' }, {})).toThrow(/\/none\/mqtt\.password/);
  });
});
