/** Loads of which the work is known: one convolution for each class of multiplications. */
import { availableParallelism } from 'node:os';
import { createSession } from '../../runtime/index.js';
import { convolutionFeeds, convolutionModel, type NetworkFormat } from '../ground/test-networks.js';

export interface Load {
  format: NetworkFormat;
  /** Multiply-adds of one run. */
  macs: number;
  run(): Promise<void>;
}

/** Large enough for full use of the kernels, and small enough that a slow core needs some 10 ms: 37.7 million multiply-adds. */
const SIZE = { channels: 64, side: 32 };

/** Calls `work` with the loads of this device, which use all of its cores. */
export async function withLoads<T>(work: (loads: readonly Load[]) => Promise<T>): Promise<T> {
  const formats: readonly NetworkFormat[] = ['int8', 'float32'];
  // With 0, the thread of JavaScript is free to read the sensor during a run.
  const sessions = await Promise.all(formats.map(async (format) => createSession(convolutionModel(SIZE, [format]), { threads: availableParallelism(), maxBlockingMs: 0 })));
  try {
    return await work(formats.map((format, i) => {
      const feeds = convolutionFeeds(SIZE, [format]);
      return { format, macs: SIZE.channels ** 2 * 9 * SIZE.side ** 2, run: async () => { await sessions[i]?.run(feeds); } };
    }));
  } finally {
    for (const session of sessions) await session.close();
  }
}
