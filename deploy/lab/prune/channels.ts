/** A channel that must stay: it is an output of the model, or what reads it is not understood. */
export const fixedChannel = 0;

/** Channels by number, and which of them can only go together (union-find). Channel 0 stands for all that must stay. */
export class Channels {
  readonly #parent: number[] = [fixedChannel];

  /** New channels that depend on no other. */
  fresh(count: number): number[] {
    return Array.from({ length: count }, () => this.#parent.push(this.#parent.length) - 1);
  }

  /** The channel that stands for all that go together with this one. */
  find(id: number): number {
    let at = id;
    for (let next = this.#parent[at] ?? at; next !== at; next = this.#parent[at] ?? at) {
      this.#parent[at] = this.#parent[next] ?? next;
      at = next;
    }
    return at;
  }

  /** From now on, the two go together. The smaller number stands for both, so that what is fixed stays so. */
  join(a: number, b: number): void {
    const [x, y] = [this.find(a), this.find(b)];
    this.#parent[Math.max(x, y)] = Math.min(x, y);
  }

  joinAll(a: readonly number[], b: readonly number[]): void {
    for (let i = 0; i < a.length; i++) this.join(a[i] ?? fixedChannel, b[i] ?? fixedChannel);
  }

  fix(ids: readonly number[]): void {
    for (const id of ids) this.join(id, fixedChannel);
  }
}
