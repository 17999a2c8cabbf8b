import { mayChange, operatorOnly, REASON } from './account.js';
import { getJson, localPath, request, sendJson } from './api.js';
import { byId, fill, h, setText } from './dom.js';

/** Others enrol people too, with the device's own API: the list is read again so often, milliseconds. */
const FRESH_MS = 4000;

/** The enrolled people of one device: list, enrol from the live picture, delete. */
export class PeopleView {
  /** What is shown: set by the page, so that it asks only for what changed. */
  key = null;
  away = null;
  #address = null;
  #asking = null;
  #readMs = 0;

  constructor() {
    byId('enrol').hidden = !mayChange;
    byId('enrol-reason').hidden = mayChange;
    setText('enrol-reason', REASON);
    byId('enrol').addEventListener('submit', (event) => {
      event.preventDefault();
      void this.#enrol();
    });
  }

  async show(address) {
    this.#address = address;
    byId('enrol').hidden = address === null || !mayChange;
    byId('enrol-reason').hidden = address === null || mayChange;
    if (address === null) {
      fill('people', h('li', { class: 'empty' }, 'The list of people stays on the device, which cannot be reached from here.'));
      setText('people-note', '');
      return;
    }
    await this.refresh();
  }

  /** Reads the list again when it is old and nobody is being asked whether to delete somebody. */
  async keepFresh() {
    if (this.#asking === null && Date.now() - this.#readMs >= FRESH_MS) await this.refresh();
  }

  async refresh() {
    const address = this.#address;
    if (address === null) return;
    this.#readMs = Date.now();
    try {
      const { people } = await getJson(localPath(address, 'gallery'));
      if (address === this.#address) this.#render(people);
    } catch (error) {
      fill('people', h('li', { class: 'empty' }, `The list cannot be read: ${error.message}`));
    }
  }

  #render(people) {
    setText('people-note', people.length === 0 ? '' : `${people.length} enrolled`);
    fill('people', people.length === 0
      ? h('li', { class: 'empty' }, 'Nobody is enrolled. Stand in front of the camera, type a name and press Enroll.')
      : people.map((person) => this.#row(person)));
  }

  #row(person) {
    const asking = this.#asking === person.person_id;
    const initials = person.name.split(/\s+/).map((word) => word[0] ?? '').join('').slice(0, 2).toUpperCase();
    return h('li', { class: 'person' },
      h('span', { class: 'avatar', 'aria-hidden': 'true' }, initials),
      h('span', { class: 'person-name' }, person.name),
      h('span', { class: 'muted' }, `${person.samples} ${person.samples === 1 ? 'picture' : 'pictures'}`),
      asking
        ? [h('button', { type: 'button', class: 'danger', onclick: () => void this.#remove(person) }, 'Delete'),
          h('button', { type: 'button', class: 'quiet', onclick: () => this.#ask(null) }, 'Keep')]
        : h('button', { type: 'button', class: 'quiet', 'aria-label': `Delete ${person.name}`, ...operatorOnly(), onclick: () => this.#ask(person.person_id) }, 'Delete…'));
  }

  #ask(personId) {
    this.#asking = personId;
    void this.refresh();
  }

  async #remove(person) {
    await this.#act(`${person.name} was deleted.`, () => request(localPath(this.#address, `gallery/${person.person_id}`), { method: 'DELETE' }));
    this.#ask(null);
  }

  async #enrol() {
    const input = byId('enrol-name');
    const name = input.value.trim();
    if (name === '' || this.#address === null) return;
    const done = await this.#act(`${name} was enrolled from the live picture.`, () => sendJson(localPath(this.#address, 'gallery'), 'POST', { name, pipeline: this.#address.pipeline, from: 'camera' }));
    if (done) input.value = '';
    await this.refresh();
  }

  async #act(success, action) {
    const message = byId('people-message');
    try {
      await action();
      message.className = 'message good';
      message.textContent = success;
      return true;
    } catch (error) {
      message.className = 'message bad';
      message.textContent = error.message;
      return false;
    }
  }
}
