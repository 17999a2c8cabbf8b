import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { compareVersions, runtimeVersion } from '../../runtime/version.js';

describe('version', () => {
  it('is that of package.json', () => {
    const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string };
    expect(runtimeVersion).toBe(version);
  });

  it('compares numbers, not text', () => {
    expect(compareVersions('0.10.0', '0.9.9')).toBeGreaterThan(0);
    expect(compareVersions('1.2.3', '1.2.3')).toBe(0);
    expect(compareVersions('1.2.3', '2.0.0')).toBeLessThan(0);
  });
});
