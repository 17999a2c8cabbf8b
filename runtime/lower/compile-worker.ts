// The thread that compile-apart.ts starts: one request in workerData, one answer, and the end.
import { parentPort, workerData } from 'node:worker_threads';
import { answer } from './compile-answer.js';
import type { ApartOptions } from './compile-message.js';

const { bytes, options } = workerData as { bytes: Uint8Array; options: ApartOptions };
const reply = answer(bytes, options);
parentPort?.postMessage(reply, 'model' in reply && reply.model.bytes.buffer instanceof ArrayBuffer ? [reply.model.bytes.buffer] : []);
