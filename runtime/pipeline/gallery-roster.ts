/** Who is enrolled in one space, in memory: enough to enroll another one without reading what is stored of all others. */
import type { Person } from './types.js';

export class Roster {
  /** Values of an embedding; undefined while nobody is enrolled. */
  dimensions: number | undefined;
  readonly #byName: Map<string, Person>;

  constructor(people: readonly Person[], dimensions: number | undefined) {
    this.dimensions = dimensions;
    this.#byName = new Map(people.map((person) => [person.name, person]));
  }

  find(name: string): Person | undefined {
    return this.#byName.get(name);
  }

  /** Takes what has been stored: a new person, or one with more samples. */
  keep(person: Person, dimensions: number): void {
    this.#byName.set(person.name, person);
    this.dimensions = dimensions;
  }
}
