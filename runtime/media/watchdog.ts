/** Calls `act` when it was not fed for `ms`; does nothing without `ms`. Time between a picture and the next request does not count. */
export class Watchdog {
  readonly #ms: number | undefined;
  readonly #act: () => void;
  #timer: NodeJS.Timeout | undefined;
  fired = false;

  constructor(ms: number | undefined, act: () => void) {
    this.#ms = ms;
    this.#act = act;
    this.feed();
  }

  feed(): void {
    this.pause();
    if (this.#ms === undefined) return;
    this.#timer = setTimeout(() => {
      this.fired = true;
      this.#act();
    }, this.#ms);
  }

  pause(): void {
    clearTimeout(this.#timer);
  }
}
