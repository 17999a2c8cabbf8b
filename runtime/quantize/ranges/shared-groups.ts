/** Disjoint sets of names (union-find). */
export class SharedGroups {
  readonly #parents = new Map<string, string>();

  /** The name that stands for the set of `name`. */
  root(name: string): string {
    let root = name;
    for (let parent = this.#parents.get(root); parent !== undefined; parent = this.#parents.get(root)) root = parent;
    return root;
  }

  join(a: string, b: string): void {
    const from = this.root(a);
    const to = this.root(b);
    if (from !== to) this.#parents.set(from, to);
  }

  /** `names` by set, in their order. */
  partition(names: Iterable<string>): string[][] {
    const sets = new Map<string, string[]>();
    for (const name of names) {
      const root = this.root(name);
      const set = sets.get(root);
      if (set === undefined) sets.set(root, [name]);
      else set.push(name);
    }
    return [...sets.values()];
  }
}
