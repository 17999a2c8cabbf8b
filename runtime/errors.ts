import { SternaError } from '../kernels/errors.js';

/** Codes of model import, planning, sessions, pipelines and packages, with what each means. */
export const runtimeErrorCodes = {
  E_OPTION: 'an option of a library function that does not exist, or a value of another type; the message names the nearest known option',
  E_MODEL_FILE: 'a model cannot be read: no such file, a folder, an empty file, or a file of another kind such as a Git LFS pointer',
  E_MODEL_MALFORMED: 'bytes are not a valid ONNX model (truncated, not protobuf, dangling names, cyclic graph)',
  E_MODEL_LIMIT: 'the model exceeds a size, depth, count or memory limit',
  E_MODEL_OP: 'an operator or attribute that this runtime does not support; details name node, op and attribute',
  E_MODEL_SHAPE: 'a shape cannot be inferred or does not fit; details name the node',
  E_MODEL_VALUE: 'NaN or infinity in weights, or a quantization parameter out of range; details name the node',
  E_INPUT: 'a feed is missing, unknown, or has the wrong type or shape',
  E_CACHE_DAMAGED: 'a cached program was damaged and is compiled again: a warning, never thrown',
  E_CACHE_UNUSABLE: 'cached programs cannot be read or kept: a warning, never thrown',
  E_DEPENDENCY: 'an optional npm package that a function needs is not installed; the message says how to install it',
  E_ENGINE_MISSING: 'the requested engine is not installed',
  E_QUANTIZE: 'calibration or quantization is impossible with the data given',
  E_PACKAGE: 'a package is malformed: tar, manifest, hash or file missing',
  E_PACKAGE_VERSION: 'a package needs a newer runtime',
  E_MEDIA: 'an image, video or camera cannot be opened or decoded',
  E_FFMPEG_MISSING: 'ffmpeg is needed for this input and was not found',
  E_GALLERY: 'an enrolment, listing or deletion in the gallery is impossible',
  E_GALLERY_KEY: 'the key of an encrypted gallery is missing, malformed or another one; put the right key back. Nothing was deleted',
  E_GALLERY_TAMPERED: 'a record of an encrypted gallery was changed or moved by something else; remove that person and enrol again',
} as const;

export type RuntimeErrorCode = keyof typeof runtimeErrorCodes;

export class RuntimeError extends SternaError<RuntimeErrorCode> {}

export { SternaError };
