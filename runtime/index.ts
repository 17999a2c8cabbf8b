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
export { quantiseModel } from './quantise/quantise.js';
export type { LayerReport, QuantiseOptions, QuantiseReport, QuantiseResult } from './quantise/quantise.js';
export type { OnQuantiseProgress, QuantiseStage } from './quantise/progress.js';
export type { QuantiseWarning } from './quantise/warnings.js';
