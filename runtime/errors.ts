import { SternaError } from '../kernels/binding/errors.js';

/** Codes of model import, planning, sessions, pipelines and packages, with their meanings. */
export const runtimeErrorCodes = {
  E_OPTION: 'an option of a library function does not exist or has a value of the wrong type; the message names the most similar option',
  E_MODEL_FILE: 'a model cannot be read: no such file, a folder, an empty file, or a file of another kind such as a Git LFS pointer',
  E_MODEL_MALFORMED: 'the bytes are not a valid ONNX model (truncated, not protobuf, dangling names, cyclic graph)',
  E_MODEL_LIMIT: 'the model exceeds a size, depth, count or memory limit',
  E_MODEL_OP: 'this runtime does not support an operator or attribute of the model; the details name node, op and attribute',
  E_MODEL_SHAPE: 'a shape cannot be inferred or does not fit; the details name the node',
  E_MODEL_VALUE: 'a weight is NaN or infinite, or a quantization parameter is out of range; the details name the node',
  E_INPUT: 'a feed is missing, unknown, or has the wrong type or shape',
  E_CACHE_DAMAGED: 'a cached program was damaged and is compiled again; this is a warning and is never thrown',
  E_CACHE_UNUSABLE: 'the cache of compiled programs cannot be read or written; this is a warning and is never thrown',
  E_DEPENDENCY: 'an optional npm package that a function needs is not installed; the message says how to install it',
  E_ENGINE_MISSING: 'the requested engine is not installed',
  E_QUANTIZE: 'the model cannot be calibrated or quantized with the given data and options',
  E_ADAPT: 'thresholds cannot be adapted: the model has none that may move, the samples are too few, or an overlay is damaged, out of bounds, or of another package or model',
  E_GRADIENT: 'a model cannot be differentiated as requested: an operator on the way has no gradient, or the loss is no scalar or does not change with a value; the details name the node or the value',
  E_PACKAGE: 'a package is malformed: the tar archive or the manifest is invalid, or a hash or a file is wrong or missing',
  E_PACKAGE_VERSION: 'a package needs a newer runtime',
  E_MEDIA: 'an image, video or camera cannot be opened or decoded',
  E_FFMPEG_MISSING: 'this input needs ffmpeg, which was not found',
  E_GALLERY: 'the gallery cannot enroll, list or delete a person',
  E_GALLERY_KEY: 'the key of an encrypted gallery is missing, malformed or wrong; restore the right key. Nothing was deleted',
  E_GALLERY_DAMAGED: 'the file of the gallery or samples in it are damaged; damaged samples are left out, and whoever they belong to must be enrolled again',
  E_GALLERY_DUPLICATE: 'the face in the pictures is enrolled under another name already; remove that person first, or use that name',
  E_GALLERY_TAMPERED: 'another program changed or moved a record of an encrypted gallery; remove that person and enroll again',
} as const;

export type RuntimeErrorCode = keyof typeof runtimeErrorCodes;

export class RuntimeError extends SternaError<RuntimeErrorCode> {}

export { SternaError };

/** The message of anything that was thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Why `fetch()` failed: its own message is only "fetch failed". The cause has the reason, and one error for several addresses has a code but no message. */
export function fetchMessageOf(error: unknown): string {
  const inner = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  if (!(inner instanceof Error)) return String(inner);
  return inner.message !== '' ? inner.message : 'code' in inner ? String(inner.code) : inner.name;
}
