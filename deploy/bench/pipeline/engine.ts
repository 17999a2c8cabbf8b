/** An engine of known cost for the bench of cameras: each frame takes so much time of a core, on a thread of its own as inference does. */
import { Worker } from 'node:worker_threads';
import type { AgentDeps } from '../../../agent/main.js';
import { openSource } from '../../../runtime/media/index.js';
import type { Pipeline } from '../../../runtime/pipeline/index.js';

type RuntimePort = NonNullable<AgentDeps['runtime']>;

/** Spins for the milliseconds that it is sent, and answers. */
const spin = `
  const { parentPort } = require('node:worker_threads');
  parentPort.on('message', (ms) => {
    for (const end = performance.now() + ms; performance.now() < end;);
    parentPort.postMessage(null);
  });
`;

/** The runtime of a daemon whose packages all are this engine. Cameras are real: MJPEG over HTTP, decoded here. */
export function benchRuntime(costMs: number): RuntimePort {
  const name = 'engine';
  const version = '1.0.0';
  const report = { name, version, memory_bytes: 1, golden: [{ name: 'engine', passed: true, detail: 'it computes nothing' }], p50_ms: costMs, p99_ms: costMs, energy: null, embedding_space_id: null, gallery_plan: null, budget: { ram_bytes: 1e9, p99_ms: 1e6 } };
  const gallery = { enrol: refuse, list: () => [], remove: () => false, match: () => null, nearest: () => [], close: () => undefined };
  return {
    openModel: () => Promise.resolve({ pipeline: spinning(name, version, costMs), selfTest: () => Promise.resolve(report) }),
    describePackage: () => Promise.resolve({ name, version }),
    testCandidate: () => Promise.resolve(report),
    openShadow: refuse,
    openGallery: () => gallery,
    enrol: refuse,
    openSource: ({ input, fps, maxSide, stallMs, signal }) => openSource(input, { stallMs, signal, ...(fps === undefined ? {} : { fps }), ...(maxSide === undefined ? {} : { maxSide }) }),
    openSound: refuse,
    decodeImage: refuse,
    encodeJpeg: refuse,
  };
}

function refuse(): never {
  throw new Error('The bench of cameras has no pictures to work on');
}

function spinning(name: string, version: string, costMs: number): Pipeline {
  const worker = new Worker(spin, { eval: true });
  return {
    name, version, embeddingSpaceId: null, memoryBytes: 1,
    process: async ({ sequence, capturedMs }) => {
      const started = performance.now();
      await new Promise<void>((resolve) => {
        worker.once('message', () => resolve());
        worker.postMessage(costMs);
      });
      const totalMs = performance.now() - started;
      return { sequence, capturedMs, findings: [], exit: 'full', cells: null, audit: false, stages: [{ stage: 'detect', ms: totalMs }], totalMs };
    },
    embed: () => Promise.resolve([]),
    withStages: (work) => work({}),
    rehearse: () => Promise.resolve(),
    close: async () => void await worker.terminate(),
  };
}
