// The thread that compile-apart.ts starts: one request in workerData, one answer, and the end.
import { parentPort, workerData } from 'node:worker_threads';
import { answer } from './compile-apart.js';
import type { CompileOptions } from './compile.js';

const { bytes, options } = workerData as { bytes: Uint8Array; options: CompileOptions };
const reply = answer(bytes, options);
parentPort?.postMessage(reply, 'model' in reply && reply.model.bytes.buffer instanceof ArrayBuffer ? [reply.model.bytes.buffer] : []);
