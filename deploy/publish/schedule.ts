/** What one device still waits for of one package. */
export interface Job<T> {
  context: T;
  /** Block numbers, in the order in which they are sent. */
  blocks: number[];
}

/** Blocks that wait for one device: some requests, of which each names at most 16. */
const MAX_WAITING_BLOCKS = 64;

/**
 * Who gets the next block: devices take turns, so that one that asks for much cannot starve the others. Pure state, no
 * clock. A device's new request for a package is added to what is left of its old one, each block once: a device asks for more while the
 * last ones are on the way. `device` names the device and the package: pipelines of one device may wait for several.
 */
export class BlockSchedule<T> {
  readonly #jobs = new Map<string, Job<T>>();
  readonly #maxDevices: number;

  constructor(maxDevices: number) {
    this.#maxDevices = maxDevices;
  }

  get devices(): number {
    return this.#jobs.size;
  }

  /** False when too many devices wait already; this one asks again by itself. */
  request(device: string, job: Job<T>): boolean {
    if (!this.#jobs.has(device) && this.#jobs.size >= this.#maxDevices) return false;
    if (job.blocks.length === 0) this.#jobs.delete(device);
    else {
      const waiting = this.#jobs.get(device)?.blocks ?? [];
      const added = job.blocks.filter((block) => !waiting.includes(block));
      this.#jobs.set(device, { context: job.context, blocks: [...waiting, ...added].slice(-MAX_WAITING_BLOCKS) });
    }
    return true;
  }

  /** The next block to send, or null when nobody waits. */
  next(): { device: string; context: T; block: number } | null {
    for (const [device, job] of this.#jobs) {
      const block = job.blocks.shift();
      this.#jobs.delete(device);
      if (block === undefined) continue;
      if (job.blocks.length > 0) this.#jobs.set(device, job); // to the end of the queue
      return { device, context: job.context, block };
    }
    return null;
  }

  clear(): void {
    this.#jobs.clear();
  }
}

/**
 * Token bucket: at most `perSecond` on average and `burst` at once.
 * `take(now)` returns 0 when one was taken, else the milliseconds until one will be there.
 */
export class RateLimit {
  readonly #perSecond: number;
  readonly #burst: number;
  #tokens: number;
  #updatedMs: number | null = null;

  constructor(perSecond: number, burst: number) {
    this.#perSecond = perSecond;
    this.#burst = burst;
    this.#tokens = burst;
  }

  take(nowMs: number): number {
    const elapsed = nowMs - (this.#updatedMs ?? nowMs);
    this.#updatedMs = nowMs;
    this.#tokens = Math.min(this.#burst, this.#tokens + (elapsed * this.#perSecond) / 1000);
    if (this.#tokens >= 1) {
      this.#tokens -= 1;
      return 0;
    }
    return Math.ceil(((1 - this.#tokens) * 1000) / this.#perSecond);
  }
}
