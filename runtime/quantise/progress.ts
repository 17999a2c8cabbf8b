/**
 * What quantization is busy with. channels: magnitudes of channels, for equalisation. migrate: scales that may move into weights. calibrate: ranges of
 * all values, sample by sample. ranges: methods that are tried for them. float: layers that are left
 * in float32 to see what int8 takes. choose: layers whose loss in fewer bits is measured. round: layers whose
 * weights are rounded; it may come several times. measure: samples on which the result is compared with the float model.
 */
export type QuantiseStage = 'channels' | 'migrate' | 'calibrate' | 'ranges' | 'float' | 'choose' | 'round' | 'measure';

/**
 * Called when a stage begins, with nothing done, and after each of its steps.
 * @param total steps of the stage; null where nobody knows how many there are, as of a stream of samples
 */
export type OnQuantiseProgress = (stage: QuantiseStage, done: number, total: number | null) => void;

/** For whoever has nothing to show. */
export const silent: OnQuantiseProgress = () => undefined;

/** The items of a list, each reported as done when the next one is asked for. */
export function* reported<T>(items: readonly T[], stage: QuantiseStage, onProgress: OnQuantiseProgress): Generator<T> {
  let done = 0;
  onProgress(stage, done, items.length);
  for (const item of items) {
    yield item;
    onProgress(stage, ++done, items.length);
  }
}
