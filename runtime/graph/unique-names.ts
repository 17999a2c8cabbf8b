/** Names of values and nodes that a graph does not have yet. */
export class UniqueNames {
  private readonly names: Set<string>;
  /** The last number is remembered: a loop asks for the same name thousands of times. */
  private readonly suffixes = new Map<string, number>();

  constructor(taken: Iterable<string>) {
    this.names = new Set(taken);
  }

  /** `base`, or `base~1`, `base~2` and so on; each name is given once. */
  fresh(base: string): string {
    let [name, i] = [base, this.suffixes.get(base) ?? 0];
    while (this.names.has(name)) name = `${base}~${++i}`;
    this.suffixes.set(base, i);
    this.names.add(name);
    return name;
  }
}
