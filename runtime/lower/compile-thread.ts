// Threads that compile models (compile-worker.ts). Nothing else to speak of is imported here: a session starts the thread while it still loads what it needs itself.
import { Worker } from 'node:worker_threads';
import { RuntimeError } from '../errors.js';
import { onPause } from '../graph/pause.js';
import type { CompileAnswer, CompileRequest } from './compile-message.js';

// Sources that a test runner transforms on the fly have no such file.
const workerFile = import.meta.url.endsWith('.js') ? new URL('./compile-start.bundle.cjs', import.meta.url) : undefined;

/** Models of up to this many bytes hold no weights to speak of: starting a thread takes far longer than compiling them. */
const smallBytes = 16_384;

/**
 * A thread without work waits so long for the next model. Models are opened one after the other when a pipeline starts, and a thread that has
 * compiled one is several times as fast as a fresh one. What it holds in memory goes back when it ends.
 */
const idleMs = 1000;

/** The one thread that has no work; a second one ends at once. */
let idle: { readonly worker: Worker; readonly timer: NodeJS.Timeout } | undefined;

let threads = true;

/**
 * From now on this process compiles models on its own thread: it has nothing else to do meanwhile, and a second heap would take 10 MB more.
 * @param between is called between the steps of a compilation, for example to collect garbage
 */
export function compileInPlace(between: () => void = () => undefined): void {
  threads = false;
  onPause(between);
}

/** Whether a model of so many bytes is compiled on a thread. */
export const compilesApart = (bytes: number): boolean => threads && workerFile !== undefined && bytes > smallBytes;

function end(worker: Worker): void {
  worker.removeAllListeners();
  worker.on('error', () => undefined); // of what nobody waits for any more
  void worker.terminate();
}

/** Keeps a thread for the next model, for a while. Neither it nor the timer keeps the process running. */
function rest(worker: Worker): void {
  worker.removeAllListeners();
  worker.unref();
  if (idle !== undefined) return void end(worker);
  const timer = setTimeout(() => {
    idle = undefined;
    end(worker);
  }, idleMs);
  timer.unref();
  const forget = (): void => {
    clearTimeout(timer);
    if (idle?.worker === worker) idle = undefined;
  };
  worker.once('error', forget).once('exit', forget);
  idle = { worker, timer };
}

/** Starts the thread that will be needed, where none waits. */
export function prepareThread(bytes: number): void {
  if (workerFile !== undefined && idle === undefined && compilesApart(bytes)) rest(new Worker(workerFile));
}

function take(file: URL): Worker {
  if (idle === undefined) return new Worker(file);
  const { worker, timer } = idle;
  clearTimeout(timer);
  idle = undefined;
  return worker;
}

/**
 * The answer of a thread to a request.
 * @throws RuntimeError E_MODEL_LIMIT: the thread died of it
 */
export async function askThread(request: CompileRequest): Promise<CompileAnswer> {
  if (workerFile === undefined) throw new Error('There is no file of the thread that compiles');
  const worker = take(workerFile);
  worker.removeAllListeners();
  worker.ref();
  try {
    const reply = await new Promise<CompileAnswer>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', (error: Error & { code?: string }) => reject(error.code === 'ERR_WORKER_OUT_OF_MEMORY'
        ? new RuntimeError('E_MODEL_LIMIT', 'Compiling the model needs more memory than a thread may have', { cause: error })
        : error));
      worker.once('exit', (code) => reject(new RuntimeError('E_MODEL_LIMIT', `The thread that compiles the model ended with code ${code} before it answered`)));
      worker.postMessage(request);
    });
    rest(worker);
    return reply;
  } catch (error) {
    end(worker);
    throw error;
  }
}
