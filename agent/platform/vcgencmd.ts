import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';

const VCGENCMD = '/usr/bin/vcgencmd';

/** Output of `vcgencmd pmic_read_adc` on a Raspberry Pi 5; null elsewhere. */
export function readPmic(): Promise<string | null> {
  if (!existsSync(VCGENCMD)) return Promise.resolve(null);
  return new Promise((resolve) => {
    execFile(VCGENCMD, ['pmic_read_adc'], { timeout: 1000 }, (error, stdout) => resolve(error === null ? stdout : null));
  });
}
