import { existsSync } from 'node:fs';
import { rolloutFile } from './server.js';
import { RolloutStore } from './store.js';

/** The roll-outs of a folder for whoever only looks: a folder without any is left as it is. */
export class RolloutReader {
  readonly #path: string;
  #store: RolloutStore | null = null;

  constructor(folder: string) {
    this.#path = rolloutFile(folder);
  }

  /** Null until the server of the fleet has made it. @throws DeployError E_ROLLOUT */
  get store(): RolloutStore | null {
    if (this.#store === null && existsSync(this.#path)) this.#store = new RolloutStore(this.#path);
    return this.#store;
  }

  close(): void {
    this.#store?.close();
    this.#store = null;
  }
}
