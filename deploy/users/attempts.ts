/** How many attempts fail before each further one waits, and the longest wait. */
export interface AttemptRule { free: number; maxWaitMs: number }
/** Short for a name, so that somebody else's attempts cannot keep a user out for long; long for an address. */
const RULES: Readonly<Record<'user' | 'address', AttemptRule>> = { user: { free: 5, maxWaitMs: 60_000 }, address: { free: 10, maxWaitMs: 900_000 } };
const FORGET_MS = 3_600_000;
/** Names and addresses that are remembered; the oldest are forgotten first. */
const REMEMBERED = 10_000;

interface Count { failed: number; lastMs: number }

/** Failed logins by user name and by address. Beyond a few, each one doubles the wait for the next. Pure but for its memory. */
export class Attempts {
  readonly #counts = new Map<string, Count>();

  /** Counts an attempt as failed, before it is made: so attempts at the same time are counted too. @returns 0, or the milliseconds to wait when it may not be made */
  begin(user: string, address: string, nowMs: number): number {
    const keys = keysOf(user, address);
    const wait = Math.max(...keys.map(([rule, key]) => this.#wait(rule, key, nowMs)));
    if (wait > 0) return wait;
    for (const [, key] of keys) {
      const count = this.#count(key, nowMs);
      this.#counts.delete(key);
      this.#counts.set(key, { failed: count.failed + 1, lastMs: nowMs });
    }
    while (this.#counts.size > REMEMBERED) this.#counts.delete(this.#counts.keys().next().value ?? '');
    return 0;
  }

  /** The attempt was good: the name begins anew; the address gets this one back only, or a user of one's own would reset the count of others. */
  succeed(user: string, address: string): void {
    const [[, userKey], [, addressKey]] = keysOf(user, address);
    this.#counts.delete(userKey);
    const count = this.#counts.get(addressKey);
    if (count !== undefined) count.failed -= 1;
  }

  #count(key: string, nowMs: number): Count {
    const count = this.#counts.get(key);
    return count === undefined || nowMs - count.lastMs > FORGET_MS ? { failed: 0, lastMs: nowMs } : count;
  }

  #wait({ free, maxWaitMs }: AttemptRule, key: string, nowMs: number): number {
    const { failed, lastMs } = this.#count(key, nowMs);
    if (failed < free) return 0;
    return Math.max(0, lastMs + Math.min(maxWaitMs, 1000 * 2 ** (failed - free)) - nowMs);
  }
}

function keysOf(user: string, address: string): [[AttemptRule, string], [AttemptRule, string]] {
  // Whoever has one IPv6 address usually has the 2^64 of its network.
  const network = address.includes(':') && !address.startsWith('::ffff:') ? address.split(':').slice(0, 4).join(':') : address;
  return [[RULES.user, `user ${user}`], [RULES.address, `address ${network}`]];
}
