/** Changes a pipeline to the variant of its package that the governor wants, and remembers which of them cannot be used. */
import { toCodedError } from '../errors.js';
import type { FaultPort } from '../ground/faults.js';
import type { Running } from '../ground/frames.js';
import type { Pipeline } from '../ground/runtime.js';

interface VariantParts {
  running(): Running | null;
  faults: FaultPort;
  /** Frames run other networks now. */
  changed(): Promise<void>;
  /** A variant turned out to be of no use. */
  unusable(): void;
}

export class VariantSwitch {
  readonly #parts: VariantParts;
  /** Variants that could not be opened, by their pipeline, which goes with its package. */
  readonly #broken = new WeakMap<Pipeline, Set<string>>();

  constructor(parts: VariantParts) {
    this.#parts = parts;
  }

  /** Variants of the running package that can be used, as far as is known. */
  get usable(): NonNullable<Pipeline['variants']> {
    const pipeline = this.#parts.running()?.model.pipeline;
    const broken = pipeline === undefined ? undefined : this.#broken.get(pipeline);
    return (pipeline?.variants ?? []).filter(({ name }) => broken?.has(name) !== true);
  }

  /** Null: the package's own networks. A package that has no such variant goes on as it is. */
  async change(name: string | null): Promise<void> {
    const running = this.#parts.running();
    const pipeline = running?.model.pipeline;
    if (pipeline?.setVariant === undefined || (name !== null && !this.usable.some((variant) => variant.name === name))) return;
    const before = pipeline.variant ?? null;
    try {
      await pipeline.setVariant(name);
      if (this.#parts.running() === running && (pipeline.variant ?? null) !== before) await this.#parts.changed();
    } catch (error) {
      // A package that serves no more takes what it was opening with it.
      if (this.#parts.running() !== running || name === null) return;
      this.#parts.faults.raise('pipeline', toCodedError(error), 'warning');
      this.#broken.set(pipeline, (this.#broken.get(pipeline) ?? new Set()).add(name));
      this.#parts.unusable();
    }
  }
}
