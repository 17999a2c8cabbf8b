// A thread of compile-thread.ts: one answer for each request, until it is ended.
import { parentPort } from 'node:worker_threads';
import { allFinite, copyBytes } from '../../kernels/binding/memory.js';
import { bulkWith } from '../graph/bulk.js';
import { answer } from './compile-answer.js';
import type { CompileRequest } from './compile-message.js';

bulkWith({ copyBytes, allFinite });

parentPort?.on('message', ({ source, options }: CompileRequest) => {
  const reply = answer(source, options);
  parentPort?.postMessage(reply, 'model' in reply && reply.model.bytes.buffer instanceof ArrayBuffer ? [reply.model.bytes.buffer] : []);
});
