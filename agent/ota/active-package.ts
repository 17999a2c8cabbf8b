/** The package that runs. It is opened, put in place between two frames, and given up when its file or its models cannot be used. */
import type { CodedError } from '../errors.js';
import type { Model } from '../ground/runtime.js';
import { blamesPackage, blaming, failure } from './failure.js';
import type { OtaParts } from './parts.js';
import type { Slot } from '../ground/package.js';

export type ActivePackageParts = Pick<OtaParts, 'store' | 'host' | 'clock' | 'onFault' | 'onOpening'> & {
  /** Called when the package of a slot cannot run and the package itself is the cause. */
  onUnusable: (slot: Slot, error: CodedError) => void;
  /** Called when another package is in place. */
  onPlaced: () => void;
};

export class ActivePackage {
  readonly #parts: ActivePackageParts;
  /** Since when the active package runs. Monotonic, milliseconds. */
  #sinceMs = 0;

  constructor(parts: ActivePackageParts) {
    this.#parts = parts;
  }

  /** How long the active package has run without a break. Milliseconds. */
  get upMs(): number {
    return this.#parts.clock.monotonicMs() - this.#sinceMs;
  }

  /** Opens a package in the daemon itself. @throws AgentError E_OTA_PACKAGE, and errors that this machine caused */
  async open(digest: string): Promise<Model> {
    this.#parts.onOpening?.(digest);
    try {
      return await blaming(this.#parts.host.open(this.#parts.store.path(digest)));
    } finally {
      this.#parts.onOpening?.(null);
    }
  }

  /** Puts an opened package in place. */
  async switchTo(model: Model, slot: Slot | null): Promise<void> {
    await this.#parts.host.switchTo(model, slot);
    this.#sinceMs = this.#parts.clock.monotonicMs();
    this.#parts.onPlaced();
  }

  /** Opens the package of a slot and runs it. The package was accepted before, but its file is hashed again, because flash memory can lose data. */
  async activate(slot: Slot | null): Promise<void> {
    if (slot === null) return this.#parts.host.switchTo(null, null);
    try {
      await this.#parts.store.verify(slot.digest, slot.size_bytes);
      await this.switchTo(await this.open(slot.digest), slot);
    } catch (cause) {
      const { message } = failure(cause);
      const code = cause instanceof Error && 'code' in cause && cause.code === 'EIO' ? 'E_OTA_HASH' : failure(cause).code; // The flash cannot be read.
      // A missing addon or a full memory is no fault of the package. It is not given up for that, because the previous one would fail as well.
      if (!blamesPackage(code)) return this.#parts.onFault({ code, message });
      const error = { code: 'E_ACTIVE_UNUSABLE', message: `${slot.name} ${slot.version} cannot run: ${message}` };
      this.#parts.onFault(error);
      this.#parts.onUnusable(slot, error);
    }
  }

  /** Opens the package of the slot again, with new overrides. */
  async reload(slot: Slot | null): Promise<void> {
    if (slot === null) return;
    await this.#parts.host.switchTo(await this.#parts.host.open(this.#parts.store.path(slot.digest)), slot);
    this.#parts.onPlaced();
  }
}
