/** The code that V8 made of the thread's bundle when it was built. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import type * as Start from '../../../runtime/lower/compile-start.js';

const { bundleFile, checkedCode, codeFile, hasChecksum, scriptOf } = createRequire(import.meta.url)('../../../dist/runtime/lower/compile-start.bundle.cjs') as typeof Start;
const source = readFileSync(bundleFile);
const file = hasChecksum ? readFileSync(codeFile) : Buffer.alloc(0);

describe.skipIf(!hasChecksum)('the code of the thread that compiles', () => {
  it('is taken by the Node.js that made it', () => {
    const code = checkedCode(source, file);
    expect(code?.length).toBeGreaterThan(100_000);
    expect(scriptOf(source, code).cachedDataRejected).toBe(false);
  });

  it('is not taken with a wrong bit, cut off, or of another bundle of as many bytes: V8 checks none of it', () => {
    const [wrong, other] = [Buffer.from(file), Buffer.from(source)];
    wrong[file.length >> 1] = (wrong[file.length >> 1] ?? 0) ^ 1;
    other[other.length >> 1] = (other[other.length >> 1] ?? 0) ^ 1;
    expect(checkedCode(source, wrong)).toBeUndefined();
    expect(checkedCode(source, file.subarray(0, file.length - 8))).toBeUndefined();
    expect(checkedCode(source, Buffer.alloc(0))).toBeUndefined();
    expect(checkedCode(other, file)).toBeUndefined();
  });
});
