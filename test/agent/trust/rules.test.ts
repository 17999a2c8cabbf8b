import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { agentErrorCodes } from '../../../agent/errors.js';
import { contractErrorCodes } from '../../../agent/contracts/index.js';
import { deployErrorCodes } from '../../../deploy/errors.js';

const root = resolve(import.meta.dirname, '../../..');
const page = readFileSync(join(root, 'agent/trust/RULES.md'), 'utf8');
const rules = [...page.matchAll(/^\| (OTA-\d{3}) \|/gm)].map(([, id]) => id ?? '');

/** Ids at the beginning of test names below `test/`. */
function tested(): string[] {
  const files = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.test.ts'));
  return files.flatMap((file) => [...readFileSync(join(root, 'test', file), 'utf8').matchAll(/^\s*(?:it\b.*|\]\))\(?['"`](OTA-\d{3}): /gm)].map(([, id]) => id ?? ''));
}

describe('the rules of updates', () => {
  it('have each a test of their name, and no test has a rule that is not on the page', () => {
    expect(rules.length).toBeGreaterThan(30);
    expect(new Set(rules).size).toBe(rules.length);
    expect([...new Set(tested())].sort()).toEqual([...rules].sort());
  });

  it('name error codes that exist', () => {
    const codes = new Set([...Object.keys(agentErrorCodes), ...Object.keys(contractErrorCodes), ...Object.keys(deployErrorCodes)]);
    const named = [...page.matchAll(/`(E_[A-Z_]+)`/g)].map(([, code]) => code ?? '');
    expect(named.filter((code) => !codes.has(code))).toEqual([]);
    const never = Object.keys(agentErrorCodes).filter((code) => code.startsWith('E_TRUST_') && !named.includes(code) && code !== 'E_TRUST_FORMAT');
    expect(never).toEqual([]);
  });
});
