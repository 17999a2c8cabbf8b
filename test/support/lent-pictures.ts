import { PictureMemory, releasePicture } from '../../runtime/picture-memory.js';

/** Pictures of one size as a source lends them. */
export class LentPictures {
  readonly #memory = new PictureMemory();
  readonly #bytes: number;

  constructor(bytes: number) {
    this.#bytes = bytes;
  }

  take(): Uint8Array {
    return this.#memory.take(this.#bytes);
  }

  /** Whether this picture was kept by somebody: then it does not come back when it is released. */
  isKept(data: Uint8Array): boolean {
    releasePicture({ data });
    return ![0, 1, 2, 3].some(() => this.#memory.take(this.#bytes).buffer === data.buffer);
  }
}
