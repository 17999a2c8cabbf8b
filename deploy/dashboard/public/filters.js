import { fill, h } from './dom.js';

/** A row of switches. What is switched off is remembered as long as the page is open. */
export class Switches {
  #target;
  #off;
  #names = new Map();
  #onChange;

  constructor(target, onChange, off = []) {
    this.#target = target;
    this.#off = new Set(off);
    this.#onChange = onChange;
  }

  /** Adds switches that are not there yet. */
  offer(names) {
    const before = this.#names.size;
    for (const [name, text] of names) if (!this.#names.has(name)) this.#names.set(name, text);
    if (this.#names.size !== before) this.#render();
  }

  clear() {
    this.#names.clear();
    this.#render();
  }

  has(name) {
    return !this.#off.has(name);
  }

  #render() {
    fill(this.#target, [...this.#names].map(([name, text]) => h('button', {
      type: 'button', class: 'switch', 'aria-pressed': String(this.has(name)), 'data-name': name,
      onclick: (event) => {
        if (!this.#off.delete(name)) this.#off.add(name);
        event.currentTarget.setAttribute('aria-pressed', String(this.has(name)));
        this.#onChange();
      },
    }, text)));
  }
}
