import { getJson, listen, localPath, request } from './api.js';
import { byId, fill, h, setText } from './dom.js';
import { EXITS } from './exits.js';
import { Switches } from './filters.js';
import { classOf, detailOf, nameOf } from './finding.js';
import { ms } from './format.js';
import { drawOverlay, LAYERS } from './overlay.js';

/** Time between two pictures: fluent enough to follow a person, cheap enough for a small device. */
const PICTURE_INTERVAL_MS = 120;
const RETRY_MS = 1500;
/** Results kept to find the one that belongs to a picture. */
const KEPT_RESULTS = 32;
/** A result older than this is not drawn over a newer picture. */
const STALE_MS = 1500;

/** Points of a track's way that are drawn. */
const TRAIL_POINTS = 40;

/** The live picture with boxes and names, of one device at a time. */
export class LiveView {
  #address = null;
  #events = null;
  #results = [];
  #arrivals = [];
  #generation = 0;

  #trouble = null;
  #zones = [];
  /** Where each track was, by its number. */
  #trails = new Map();
  #layers = new Switches('layers', () => undefined);
  #classes;
  #onFrame;
  #onSound;
  /** Whether the pipeline that is shown listens, and has no pictures. */
  #listens = false;

  /**
   * @param classes switches of the classes that are shown
   * @param onFrame called with every result, of every camera and microphone of the device
   * @param onSound called with every piece of sound
   */
  constructor(classes, { onFrame, onSound }) {
    this.#classes = classes;
    this.#onFrame = onFrame;
    this.#onSound = onSound;
    this.#layers.offer(LAYERS);
  }

  /** `address` null: no picture can be had. `trouble`: why the camera delivers none at present, or null. */
  show(address, reason, trouble = null) {
    this.#trouble = trouble;
    if (this.#address !== null && address !== null && this.#address.fleet === address.fleet && this.#address.device === address.device && this.#address.pipeline === address.pipeline) return;
    this.stop();
    this.#address = address;
    this.#empty(address === null ? reason : 'Waiting for the camera…');
    if (address === null) return;
    this.#events = listen(localPath(address, 'events?frames=1'), {
      frame: (frame) => {
        this.#onFrame(frame);
        if (frame.pipeline === address.pipeline) this.#note(frame);
      },
      sound: (piece) => {
        this.#onFrame(piece);
        if (piece.pipeline === address.pipeline) this.#listens = true;
        this.#onSound(piece);
      },
    });
    void this.#readZones(address);
    void this.#poll(++this.#generation);
  }

  stop() {
    this.#generation += 1;
    this.#events?.close();
    this.#events = null;
    this.#results = [];
    this.#arrivals = [];
    this.#trails.clear();
    this.#zones = [];
    this.#listens = false;
    this.#address = null;
  }

  /** Zones are settings, which may change: the page asks for them with the figures. */
  refresh() {
    if (this.#address !== null) void this.#readZones(this.#address);
  }

  async #readZones(address) {
    try {
      const { pipelines = [] } = await getJson(localPath(address, 'status'));
      if (this.#address === address) this.#zones = pipelines.find(({ name }) => name === address.pipeline)?.rules?.zones ?? [];
    } catch {
      // Then there are no zones to see; the picture says what is wrong.
    }
  }

  #note(frame) {
    this.#classes.offer(frame.findings.map(({ label }) => [label, label]));
    this.#follow(frame);
    const now = performance.now();
    this.#results.push({ frame, at: now });
    if (this.#results.length > KEPT_RESULTS) this.#results.shift();
    this.#arrivals.push(now);
    while (this.#arrivals.length > 0 && now - this.#arrivals[0] > 3000) this.#arrivals.shift();
  }

  #follow({ findings }) {
    for (const { track, box } of findings) {
      if (track === undefined || !box) continue;
      const trail = this.#trails.get(track) ?? [];
      trail.push([box[0] + box[2] / 2, box[1] + box[3]]);
      if (trail.length > TRAIL_POINTS) trail.shift();
      this.#trails.delete(track); // to the end: the oldest go first
      this.#trails.set(track, trail);
    }
    while (this.#trails.size > 64) this.#trails.delete(this.#trails.keys().next().value);
  }

  async #poll(generation) {
    while (generation === this.#generation) {
      const started = performance.now();
      if (document.visibilityState === 'visible') {
        try {
          const answer = await request(localPath(this.#address, `snapshot.jpg?pipeline=${encodeURIComponent(this.#address.pipeline)}`));
          if (generation !== this.#generation) return;
          // A device whose camera is lost may still have its last picture, which is not a live one.
          if (answer.status === 204 || this.#trouble !== null) {
            this.#empty(this.#trouble ?? (this.#listens ? 'This pipeline listens, so it has no picture' : 'The camera has not delivered a picture yet'));
            await pause(RETRY_MS);
            continue;
          }
          const sequence = answer.headers.get('x-frame-sequence');
          const bitmap = await createImageBitmap(await answer.blob());
          if (generation !== this.#generation) return;
          this.#draw(bitmap, this.#resultOf(sequence));
          bitmap.close();
        } catch (error) {
          if (generation !== this.#generation) return;
          this.#empty(`No picture: ${error.message}`);
          await pause(RETRY_MS);
        }
      }
      await pause(Math.max(20, PICTURE_INTERVAL_MS - (performance.now() - started)));
    }
  }

  /** The result of that very frame where the device says which one it is, else the newest. */
  #resultOf(sequence) {
    const exact = sequence === null ? undefined : this.#results.findLast(({ frame }) => frame.sequence === Number(sequence));
    const result = exact ?? this.#results.at(-1);
    return result !== undefined && performance.now() - result.at < STALE_MS ? result.frame : null;
  }

  #draw(bitmap, frame) {
    const canvas = byId('picture');
    const scale = Math.min(2, Math.max(1, 1280 / bitmap.width));
    const [width, height] = [Math.round(bitmap.width * scale), Math.round(bitmap.height * scale)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext('2d');
    context.drawImage(bitmap, 0, 0, width, height);
    byId('live-empty').hidden = true;
    canvas.hidden = false;
    const findings = (frame?.findings ?? []).filter(({ label }) => this.#classes.has(label));
    drawOverlay(context, {
      frame, findings, zones: this.#zones, layers: this.#layers, trails: this.#trails, scale: scale * (bitmap.width / (frame?.width || bitmap.width)),
    });
    this.#describe(frame, findings, bitmap);
  }

  #describe(frame, findings, bitmap) {
    const seconds = (this.#arrivals.at(-1) - this.#arrivals[0]) / 1000;
    const fps = this.#arrivals.length > 2 && seconds > 0 ? `${((this.#arrivals.length - 1) / seconds).toFixed(1)} frames/s · ` : '';
    setText('live-note', frame === null ? `${bitmap.width} × ${bitmap.height} · no results yet` : `${bitmap.width} × ${bitmap.height} · ${fps}${EXITS[frame.exit]?.note ?? frame.exit} in ${ms(frame.total_ms)}`);
    const labels = findings.map((finding) => h('li', { class: `finding ${classOf(finding)}` }, h('strong', {}, nameOf(finding)), h('span', {}, detailOf(finding))));
    // A pipeline knows only what its model looks for: nothing found is not nobody there.
    const none = frame === null ? 'No results yet' : frame.exit === 'pixels' ? 'No motion, so nothing was searched' : frame.exit === 'features' ? 'Nothing new in the picture' : 'Nothing found';
    fill('findings', labels.length > 0 ? labels : h('li', { class: 'finding none' }, none));
    byId('picture').setAttribute('aria-label', `Live picture: ${findings.map(nameOf).join(', ') || none.toLowerCase()}`);
  }

  #empty(text) {
    byId('live-empty').hidden = false;
    byId('picture').hidden = true;
    setText('live-empty', text);
    setText('live-note', '');
    fill('findings');
  }
}

const pause = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });
