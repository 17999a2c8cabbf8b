import type { Bar } from '../bars.js';

/** What `npm run bench:transfer` measures: one line a section, loaded on demand. */
export const transferSections: Readonly<Record<string, (options: { signal: AbortSignal }) => Promise<Bar[]>>> = {
  throughput: async ({ signal }) => (await import('./throughput.js')).throughputBars(signal),
  link: async ({ signal }) => (await import('./link.js')).linkBars(signal),
  delta: async () => (await import('./delta.js')).deltaBars(),
};
