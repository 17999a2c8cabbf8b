/** Pipelines by name: a device runs one or several, each with its own input, package, report and figures. */

/** The name of the only pipeline of a device whose configuration names none. */
export const DEFAULT_PIPELINE = 'main';
/** Most pipelines of a device. */
export const MAX_PIPELINES = 16;

/** The entry of one pipeline; null when there is none of that name. */
export function ofPipeline<T extends { name: string }>(message: { pipelines: readonly T[] } | null | undefined, name: string): T | null {
  return message?.pipelines.find((pipeline) => pipeline.name === name) ?? null;
}
