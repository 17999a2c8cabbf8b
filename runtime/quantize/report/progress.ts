/**
 * The stages of quantization. channels: measure the magnitudes of channels, for equalization. migrate: search scales that move into weights.
 * calibrate: collect the ranges of all values, sample by sample. ranges: try the methods that choose ranges. float: leave layers in float32, to
 * measure how much loss int8 causes there. choose: measure the loss of each layer with fewer bits. round: round the weights of layers; this stage
 * may occur several times. measure: compare the result with the float model on samples.
 */
export type QuantizeStage = 'channels' | 'migrate' | 'calibrate' | 'ranges' | 'float' | 'choose' | 'round' | 'measure';

/**
 * Called with `done` 0 when a stage begins, and after each of its steps.
 * @param total steps of the stage; null if their number is not known, as for a stream of samples
 */
export type OnQuantizeProgress = (stage: QuantizeStage, done: number, total: number | null) => void;

/** Ignores all progress. */
export const silent: OnQuantizeProgress = () => undefined;

/** Yields the items of a list, and reports each as done when the next one is requested. */
export function* reported<T>(items: readonly T[], stage: QuantizeStage, onProgress: OnQuantizeProgress): Generator<T> {
  let done = 0;
  onProgress(stage, done, items.length);
  for (const item of items) {
    yield item;
    onProgress(stage, ++done, items.length);
  }
}
