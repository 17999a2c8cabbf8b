import { readFile } from 'node:fs/promises';
import type { Session, SessionOptions } from './session-types.js';

export type { Session, SessionOptions, SessionStats, EngineName, PixelInput, ProgramCache, LayerProfile } from './session-types.js';

/**
 * Opens an ONNX model (bytes or a path).
 * @throws RuntimeError E_MODEL_* for a model that cannot run, E_ENGINE_MISSING
 */
export async function createSession(model: Uint8Array | string, options: SessionOptions = {}): Promise<Session> {
  const bytes = typeof model === 'string' ? await readFile(model) : model;
  if (options.engine === 'onnxruntime') {
    const { openOnnxRuntime } = await import('./engines/onnxruntime.js');
    return openOnnxRuntime(bytes, options);
  }
  const { openNative } = await import('./engines/native.js');
  return openNative(bytes, options);
}
