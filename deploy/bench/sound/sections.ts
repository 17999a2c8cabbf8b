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

/** Sections that need published models and recordings. */
const withData = (measure: (options: SoundBenchOptions & { models: string; sounds: string }) => Promise<Bar[] | Absent>) => async (options: SoundBenchOptions): Promise<Bar[] | Absent> => {
  const { models, sounds } = options;
  return models === undefined || sounds === undefined ? { absent: 'it needs --models FOLDER and --sounds FOLDER' } : measure({ ...options, models, sounds });
};

/** What `npm run bench:sound` measures: one line a section, loaded on demand. */
export const sections: Readonly<Record<string, (options: SoundBenchOptions) => Promise<Bar[] | Absent>>> = {
  features: async () => (await import('./features.js')).featureBars(),
  listening: async () => (await import('./listening.js')).listeningBars(),
  columns: async (options) => (await import('./columns.js')).columnBars(options),
  stream: async (options) => (await import('./stream.js')).streamBars(options),
  sirens: async (options) => (await import('./sirens.js')).sirenBars(options),
  published: withData(async (options) => (await import('./published.js')).publishedBars(options)),
  'student-cost': withData(async (options) => (await import('./student.js')).studentCostBars(options)),
  student: withData(async (options) => (await import('./student.js')).studentBars(options)),
  labels: withData(async (options) => (await import('./labels.js')).labelBars('sound', options)),
};
