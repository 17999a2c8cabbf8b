import { describe, expect, it } from 'vitest';
import { DropOldestRing } from '../../../runtime/media/ring.js';

describe('DropOldestRing', () => {
  it('keeps the newest items and counts what it dropped', async () => {
    const ring = new DropOldestRing<number>(2);
    for (let i = 1; i <= 5; i++) ring.push(i);
    ring.close();
    expect([await ring.next(), await ring.next(), await ring.next()]).toEqual([4, 5, undefined]);
    expect(ring.dropped).toBe(3);
  });

  it('wakes a consumer that waits', async () => {
    const ring = new DropOldestRing<string>(2);
    const waiting = ring.next();
    ring.push('frame');
    expect(await waiting).toBe('frame');
    const last = ring.next();
    ring.close();
    expect(await last).toBeUndefined();
  });

  it('gives what is left before it throws the error', async () => {
    const ring = new DropOldestRing<number>(2);
    ring.push(1);
    ring.close(new Error('camera gone'));
    expect(await ring.next()).toBe(1);
    await expect(ring.next()).rejects.toThrow('camera gone');
  });
});
