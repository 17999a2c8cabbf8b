/** The runtime as applications see it. See runtime/README.md. */
export { RuntimeError, runtimeErrorCodes, SternaError, type RuntimeErrorCode } from './errors.js';
export { runtimeVersion, compareVersions } from './version.js';
export type { DataType, Tensor, TensorData, TensorInfo } from './tensor.js';
export type { Frame, FrameSource, Image } from './frame.js';
export { createSession } from './session.js';
export { defaultLimits, type ModelLimits } from './onnx/types.js';
export type { EngineName, LayerProfile, PixelInput, ProgramCache, Session, SessionOptions, SessionStats } from './session.js';
export { inspectModel } from './inspect.js';
export type { InspectedLayer, InspectOptions, ModelInspection } from './inspect.js';
export { compile } from './lower/compile.js';
export type { CompiledProgram, CompileOptions, ProgramPort } from './lower/compile.js';
export * from './media/index.js';
export * from './pipeline/index.js';
export * from './package/index.js';
export { quantizeModel } from './quantize/quantize.js';
export type { LayerReport, QuantizeOptions, QuantizeReport, QuantizeResult } from './quantize/quantize.js';
export type { OnQuantizeProgress, QuantizeStage } from './quantize/report/progress.js';
export type { QuantizeWarning } from './quantize/report/warnings.js';
