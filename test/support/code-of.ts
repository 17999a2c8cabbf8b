import { SternaError } from '../../runtime/errors.js';

/** The code of the error that an action throws; null when it throws none. Errors without a code are thrown on. */
export function codeOf(action: () => unknown): string | null {
  try {
    action();
  } catch (error) {
    if (error instanceof SternaError) return error.code;
    throw error;
  }
  return null;
}
