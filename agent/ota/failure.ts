/** Decides what went wrong while a package was handled, and whether the package or this machine is the cause. */
import { AgentError, toCodedError, type CodedError } from '../errors.js';
import { CandidateError, type Model } from '../ground/runtime.js';

/** Codes of a disk that is full, read-only or failing. None of them speaks against a package, and each may pass. */
export const diskCodes = ['E_DISK_FULL', 'E_STATE_READ_ONLY', 'E_STATE'] as const;

/** Whether an error code means "this package is bad" rather than "this machine has a problem". */
export function blamesPackage(code: string): boolean {
  return /^E_(OTA|PACKAGE|MODEL|PROGRAM|INPUT)/.test(code);
}

/** Converts errors of the runtime and the system to the form in which a rejection names them. */
export function failure(error: unknown): CodedError {
  if (error instanceof AgentError) return toCodedError(error);
  if (error instanceof CandidateError) return { code: error.code, message: error.message };
  if (isDiskFull(error)) return { code: 'E_DISK_FULL', message: error.message };
  if (error instanceof Error && 'code' in error && error.code === 'EROFS') return { code: 'E_STATE_READ_ONLY', message: error.message };
  if (error instanceof Error && 'syscall' in error) return { code: 'E_STATE', message: error.message };
  return toCodedError(error);
}

/** Whether this device is the cause: its disk, its journal. What comes from the network has codes of the kind E_OTA. */
export function blamesDevice(error: unknown): boolean {
  return !(error instanceof AgentError) || !error.code.startsWith('E_OTA_');
}

/** Whether the disk, or the share of it that this user may fill, is full. */
export function isDiskFull(error: unknown): error is Error {
  return error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT');
}

/** Turns errors that the package causes into those which blame it. Errors of the machine stay as they are. */
export async function blaming<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    const { code, message } = failure(cause);
    if (cause instanceof AgentError || !blamesPackage(code)) throw cause;
    throw new AgentError('E_OTA_PACKAGE', `The package cannot be opened: ${code}: ${message}`, { cause });
  }
}

/** Returns the model, or throws after the time or the abort. A model that is opened too late is closed. */
export async function openInTime(opening: Promise<Model>, timeoutMs: number, signal: AbortSignal): Promise<Model> {
  let timer: NodeJS.Timeout | undefined;
  let late = false;
  void opening.then((model) => (late ? model.pipeline.close() : undefined)).catch(() => undefined);
  const end = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new AgentError('E_OTA_GATE_TIMEOUT', `Opening the package took longer than ${timeoutMs} ms, after it had passed its test`)), timeoutMs);
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });
  try {
    return await Promise.race([opening, end]);
  } catch (error) {
    late = true;
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
