import type { Absent, Bar } from '../bars.js';

export interface SoundBenchOptions {
  /** Of the replayed stream, seconds. */
  seconds: number;
  /** Of noise without a siren. */
  hours: number;
  /** Folder of published models, and of recordings by class. */
  models?: string;
  sounds?: string;
  signal: AbortSignal;
}

/** What `npm run bench:sound` measures: one line a section, loaded on demand. */
export const sections: Readonly<Record<string, (options: SoundBenchOptions) => Promise<Bar[] | Absent>>> = {
  features: async () => (await import('./features.js')).featureBars(),
  listening: async () => (await import('./listening.js')).listeningBars(),
  stream: async (options) => (await import('./stream.js')).streamBars(options),
  sirens: async (options) => (await import('./sirens.js')).sirenBars(options),
  published: async ({ models, sounds }) => {
    if (models === undefined || sounds === undefined) return { absent: 'it needs --models FOLDER and --sounds FOLDER' };
    return (await import('./published.js')).publishedBars({ models, sounds });
  },
};
