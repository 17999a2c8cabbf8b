import { createHash } from 'node:crypto';
import type { DesiredPackage } from '../../../agent/contracts/index.js';
import { createLog, type Log } from '../../../agent/platform/log.js';
import type { FakePackage } from './fake-runtime.js';

export { temporaryFolder } from '../../support/folder.js';

export const quietLog: Log = createLog('debug', () => undefined);

/** Waits for a condition; no assertion about time, only a bound on a test that would hang. */
export async function until(what: string, condition: () => boolean | Promise<boolean>, timeoutMs = 40_000): Promise<void> {
  const end = Date.now() + timeoutMs;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`gave up waiting: ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, 10); });
  }
}

export function desiredPackage(fake: FakePackage, bytes: Buffer, blockBytes = 256): DesiredPackage {
  return { name: fake.name, version: fake.version, digest: createHash('sha256').update(bytes).digest('hex'), size_bytes: bytes.length, block_bytes: blockBytes };
}
