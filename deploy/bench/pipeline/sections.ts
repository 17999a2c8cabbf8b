import type { Bar } from '../bars.js';

export interface SectionOptions {
  /** Of each measurement that takes a time, seconds. */
  seconds: number;
  signal: AbortSignal;
}

/** What `npm run bench:pipeline` measures: one line a section, loaded on demand. */
export const sections: Readonly<Record<string, (options: SectionOptions) => Promise<Bar[]>>> = {
  gates: async () => (await import('./gates.js')).gateBars(),
  cameras: async (options) => {
    const { lateFrames, stallAndFlood } = await import('./cameras.js');
    return [...await stallAndFlood(options), ...await lateFrames(options)];
  },
};
