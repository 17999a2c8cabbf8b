import { describeCpu } from '../../../kernels/binding/index.js';

function reason(): string | undefined {
  try {
    describeCpu();
    return undefined;
  } catch (error) {
    return error instanceof Error ? (error.message.split('\n')[0] ?? 'the native addon is missing') : String(error);
  }
}

/** Why tests of the native engine are skipped, for their titles; undefined when they run. */
export const nativeMissing = reason();
