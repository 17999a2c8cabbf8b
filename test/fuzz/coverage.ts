import { Session, type Profiler } from 'node:inspector';

/** One function's source: 1 where it has been executed. */
type Executed = Uint8Array;

/**
 * Feedback for a fuzzer: which source was executed, by V8's own block coverage. Only functions of scripts whose URL `wanted`
 * accepts count. Taking a profile costs some milliseconds, so callers run several inputs before each.
 */
export class Coverage {
  private readonly session = new Session();
  private readonly functions = new Map<string, Executed>();

  constructor(private readonly wanted: (url: string) => boolean) {}

  start(): void {
    this.session.connect();
    this.session.post('Profiler.enable');
    this.session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
    this.take();
  }

  stop(): void {
    this.session.post('Profiler.stopPreciseCoverage');
    this.session.disconnect();
  }

  /** Characters of source that were executed since the last call of either method and never taken before; they count as new again. */
  peek(): number {
    return this.profile((before, now) => now.reduce((fresh, executed, i) => fresh + (executed === 1 && before?.[i] !== 1 ? 1 : 0), 0));
  }

  /** As `peek`, and they count as known from now on. */
  take(): number {
    return this.profile((before, now, key) => {
      const known = before ?? new Uint8Array(now.length);
      this.functions.set(key, known);
      let fresh = 0;
      for (let i = 0; i < now.length; i++) {
        if (now[i] === 0 || known[i] === 1) continue;
        known[i] = 1;
        fresh++;
      }
      return fresh;
    });
  }

  /** The sum of what `count` makes of each function that was executed. */
  private profile(count: (before: Executed | undefined, now: Executed, key: string) => number): number {
    let scripts: readonly Profiler.ScriptCoverage[] = [];
    this.session.post('Profiler.takePreciseCoverage', (error, taken) => {
      if (error !== null) throw error;
      scripts = taken.result;
    });
    let sum = 0;
    for (const { url, functions } of scripts) {
      if (!this.wanted(url)) continue;
      for (const { ranges: [whole, ...inner] } of functions) {
        if (whole === undefined || whole.count === 0) continue;
        const now = new Uint8Array(whole.endOffset - whole.startOffset).fill(1);
        // Ranges nest: each refines the count within one before it.
        for (const { startOffset, endOffset, count: times } of inner) now.fill(times > 0 ? 1 : 0, startOffset - whole.startOffset, endOffset - whole.startOffset);
        const key = `${url}:${whole.startOffset}:${whole.endOffset}`;
        sum += count(this.functions.get(key), now, key);
      }
    }
    return sum;
  }
}
