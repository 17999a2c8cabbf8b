import { mayChange } from './account.js';
import { getJson, localPath, request } from './api.js';
import { byId, h, setText } from './dom.js';
import { drawOverlay } from './overlay.js';

const ASKED = 60;
const FRESH_MS = 3000;
/** Drawn over a kept picture. */
const LAYERS = new Set(['boxes']);

/** Pictures and clips of events, which only the device has. */
export class RecordingsView {
  #address = null;
  #byEvent = new Map();
  /** Elements are kept: a list that is written anew must not load its pictures anew. */
  #thumbs = new Map();
  #readMs = 0;
  #playing = 0;
  #shown = null;
  #onChange;

  constructor(onChange) {
    this.#onChange = onChange;
    const viewer = byId('viewer');
    byId('viewer-close').addEventListener('click', () => viewer.close());
    byId('viewer-play').addEventListener('click', () => void this.#play());
    byId('viewer-delete').hidden = !mayChange;
    byId('viewer-delete').addEventListener('click', () => void this.#delete());
    viewer.addEventListener('close', () => { this.#playing += 1; });
    viewer.addEventListener('click', (event) => { if (event.target === viewer) viewer.close(); });
  }

  /** @param address null: the device cannot be reached */
  async show(address) {
    if (address === null || address.device !== this.#address?.device || address.fleet !== this.#address?.fleet) {
      this.#byEvent.clear();
      this.#thumbs.clear();
      this.#readMs = 0;
    }
    this.#address = address;
    if (address === null || Date.now() - this.#readMs < FRESH_MS) return;
    this.#readMs = Date.now();
    try {
      const { recordings = [] } = await getJson(localPath(address, `recordings?limit=${ASKED}`));
      const before = [...this.#byEvent.keys()].join();
      this.#byEvent = new Map(recordings.map((recording) => [recording.event_id, recording]));
      for (const id of this.#thumbs.keys()) if (!this.#byEvent.has(id)) this.#thumbs.delete(id);
      this.#update();
      if ([...this.#byEvent.keys()].join() !== before) this.#onChange();
    } catch {
      // A device of an earlier version has none; the events are there without pictures.
    }
  }

  /** A clip is complete some seconds after its picture: what is open gets it as well. */
  #update() {
    const fresh = this.#shown === null ? undefined : this.#byEvent.get(this.#shown.event_id);
    if (fresh === undefined) return;
    this.#shown = fresh;
    byId('viewer-play').hidden = fresh.clip === null;
  }

  /** The picture beside an event, or null. */
  thumb(event) {
    const recording = this.#byEvent.get(event.event_id);
    if (recording === undefined || this.#address === null) return null;
    const known = this.#thumbs.get(event.event_id);
    if (known !== undefined) return known;
    const thumb = h('button', { type: 'button', class: 'thumb', 'aria-label': 'Show the picture of this event', onclick: () => void this.#open(event.event_id) },
      h('img', { src: this.#path(event.event_id, 'snapshot.jpg'), alt: '', loading: 'lazy', width: 64, height: 48 }));
    this.#thumbs.set(event.event_id, thumb);
    return thumb;
  }

  #path(id, part) {
    return localPath(this.#address, `recordings/${encodeURIComponent(id)}/${part}`);
  }

  async #open(id) {
    const recording = this.#byEvent.get(id);
    if (recording === undefined) return;
    this.#shown = recording;
    this.#ask(false);
    this.#playing += 1;
    setText('viewer-title', `${recording.label} at ${recording.camera}, ${new Date(recording.time_ms).toLocaleString('en-GB')}`);
    setText('viewer-note', '');
    byId('viewer-play').hidden = recording.clip === null;
    byId('viewer').showModal();
    await this.#picture('snapshot.jpg', recording.findings);
  }

  /** Draws a picture of the shown recording. @returns whether it is still the one to be shown */
  async #picture(part, findings = []) {
    const turn = this.#playing;
    const { event_id: id, width } = this.#shown;
    try {
      const bitmap = await createImageBitmap(await (await request(this.#path(id, part))).blob());
      if (turn !== this.#playing) return false;
      const canvas = byId('viewer-picture');
      Object.assign(canvas, { width: bitmap.width, height: bitmap.height });
      const context = canvas.getContext('2d');
      context.drawImage(bitmap, 0, 0);
      bitmap.close();
      drawOverlay(context, { frame: null, findings, scale: canvas.width / width, zones: [], layers: LAYERS, trails: new Map() });
      return true;
    } catch (error) {
      if (turn === this.#playing) setText('viewer-note', `The picture cannot be shown: ${error.message}`);
      return false;
    }
  }

  /** The frames of the clip, at the pace at which they were captured. */
  async #play() {
    const turn = ++this.#playing;
    const { frames } = this.#shown.clip;
    for (const [index, offset] of frames.entries()) {
      const started = performance.now();
      setText('viewer-note', `${offset < 0 ? '−' : '+'}${(Math.abs(offset) / 1000).toFixed(1)} s`);
      if (!(await this.#picture(`clip/${index}.jpg`)) || turn !== this.#playing) return;
      const wait = (frames[index + 1] ?? offset) - offset - (performance.now() - started);
      if (wait > 0) await new Promise((resolve) => { setTimeout(resolve, wait); });
      if (turn !== this.#playing) return;
    }
    setText('viewer-note', '');
    await this.#picture('snapshot.jpg', this.#shown.findings);
  }

  /** Deleting takes a second click. */
  #ask(asking) {
    const button = byId('viewer-delete');
    button.dataset.asking = String(asking);
    setText('viewer-delete', asking ? 'Delete picture and clip' : 'Delete…');
    button.className = asking ? 'danger' : 'quiet';
  }

  async #delete() {
    if (byId('viewer-delete').dataset.asking !== 'true') return this.#ask(true);
    const { event_id: id } = this.#shown;
    try {
      await request(localPath(this.#address, `recordings/${encodeURIComponent(id)}`), { method: 'DELETE' });
      this.#byEvent.delete(id);
      this.#thumbs.delete(id);
      byId('viewer').close();
      this.#onChange();
    } catch (error) {
      setText('viewer-note', `It cannot be deleted: ${error.message}`);
    }
  }
}
