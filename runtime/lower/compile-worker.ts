// The thread that compile-apart.ts starts: one request in workerData, one answer, and the end.
import { parentPort, workerData } from 'node:worker_threads';
import type { Graph } from '../graph/graph.js';
import { answer } from './compile-answer.js';
import type { ApartOptions } from './compile-message.js';

const { source, options } = workerData as { source: Uint8Array | Graph; options: ApartOptions };
const reply = answer(source, options);
parentPort?.postMessage(reply, 'model' in reply && reply.model.bytes.buffer instanceof ArrayBuffer ? [reply.model.bytes.buffer] : []);
