/** The worst error of gradients over many comparisons, and how many there were: `npm run bench:lab -- --only gradients` asks for them. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Check } from './double.js';

/** Central differences are as exact as this where the derivative is almost zero. */
const leastDerivative = 1e-3;

export const relativeError = ({ gradient, difference }: Check): number => Math.abs(gradient - difference) / Math.max(Math.abs(difference), leastDerivative);

export class Worst {
  #error = 0;
  #where = '';
  readonly #cases = new Set<string>();
  #comparisons = 0;

  note(where: string, check: Check): void {
    this.#cases.add(where);
    this.#comparisons += 1;
    const error = relativeError(check);
    if (error <= this.#error) return;
    [this.#error, this.#where] = [error, `${where}, ${check.value}`];
  }

  /** Writes them into the folder that the bench gives; without one, nothing. */
  write(name: string, more: object = {}): void {
    const folder = process.env['STERNA_GRADIENTS_REPORT'];
    if (folder !== undefined) writeFileSync(join(folder, `${name}.json`), JSON.stringify({ error: this.#error, where: this.#where, cases: this.#cases.size, comparisons: this.#comparisons, ...more }));
  }
}
