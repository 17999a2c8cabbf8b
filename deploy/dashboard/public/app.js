import { showAccount } from './account.js';
import { deviceHash, deviceKey, devicePath, getJson, listen } from './api.js';
import { showAudit } from './audit.js';
import { Charts } from './charts.js';
import { CompareView } from './compare.js';
import { byId, fill, h, setText } from './dom.js';
import { Switches } from './filters.js';
import { table } from './fleet-table.js';
import { count, duration } from './format.js';
import { HistoryView } from './history.js';
import { LiveView } from './live.js';
import { renderEnergy, renderEvents, renderMachine, renderModel, renderPills, renderStages, renderTiles, renderTiming } from './panels.js';
import { PeopleView } from './people.js';
import { RecordingsView } from './recordings.js';
import { RolloutsView } from './rollouts.js';
import { SoundView } from './sound.js';
import { ExitStrips } from './strip.js';

/** Bursts of messages become one reload. */
const SETTLE_MS = 150;
/** Ages on the page grow without any message. */
const REFRESH_MS = 5000;

let shown = null;
const showEvents = () => { if (shown !== null) renderEvents(shown, { shows: (label) => classes.has(label), thumb: (event) => recordings.thumb(event) }); };
/** Classes of the findings that are drawn and listed. */
const classes = new Switches('classes', showEvents);
const recordings = new RecordingsView(showEvents);
const strips = new ExitStrips((name) => pick(name));
const sound = new SoundView();
const live = new LiveView(classes, { onFrame: (frame) => strips.note(frame), onSound: (piece) => sound.note(piece) });
const people = new PeopleView();
const charts = new Charts();
const past = new HistoryView();
const compare = new CompareView();
const rollouts = new RolloutsView();
rollouts.onCompare = (group) => void compare.open(null, group);
table.onPick = (address) => choose(address);
let fleet = { size: 0, devices: [] };
let selected = null;
/** Name of the pipeline that is shown; null: the first of the device. */
let pipeline = null;
let timer = null;

async function loadFleet() {
  fleet = await getJson('/api/fleet');
  const picker = byId('device');
  fill(picker, fleet.devices.map((device) => h('option', { value: deviceKey(device) }, deviceKey(device))));
  picker.parentElement.hidden = fleet.devices.length < 2;
  if (selected === null && fleet.devices.length > 0) selected = wanted();
  if (selected !== null) {
    picker.value = deviceKey(selected);
    table.select(selected);
  }
  const { messages } = fleet.collector;
  setText('foot', `${count(fleet.size)} ${fleet.size === 1 ? 'device' : 'devices'} · ${count(messages)} messages over MQTT${counted(fleet.collector)} · broker ${fleet.broker_connected ? 'connected' : 'not reachable'}`);
}

/** The device in the address (#fleet/device), else the first that is online. */
function wanted() {
  const named = decodeURIComponent(location.hash.slice(1));
  const [, name, device] = /^([^/]+)\/([^/]+)$/.exec(named) ?? [];
  if (device !== undefined) return { fleet: name, device };
  return fleet.devices.find(({ state }) => state === 'online') ?? fleet.devices[0];
}

/** What the collector did not take, as far as there is any. */
function counted({ malformed, duplicates, overlaps, devicesRefused }) {
  const parts = [[malformed, 'refused'], [duplicates, 'received twice'], [overlaps, 'overlapping'], [devicesRefused, 'of too many devices']];
  return parts.filter(([n]) => n > 0).map(([n, what]) => `, ${count(n)} ${what}`).join('');
}

async function load() {
  try {
    await loadFleet();
    if (selected === null) return showNothing();
    render(await getJson(`${devicePath(selected)}${pipeline === null ? '' : `?pipeline=${encodeURIComponent(pipeline)}`}`));
    banner(fleet.broker_connected ? storeTrouble(fleet.store) : 'The broker cannot be reached. The page shows the last data received.');
  } catch (error) {
    banner(`The fleet side does not answer (${error.message}). Trying again…`);
  }
}

/** Null: the store of the past can be read, and is written. */
function storeTrouble({ source, error, behind_ms: behind }) {
  if (error !== null) return `The past cannot be read (${error.code}: ${error.message}). What devices send now is shown as ever.`;
  return behind === null ? null : `${source} has taken nothing for ${duration(behind)}, although devices send (E_STORE): no collector runs, or the store is full or too slow. See what “sterna fleet collect” prints.`;
}

function showNothing() {
  byId('main').hidden = false;
  banner('No device has reported yet. A device appears here as soon as it connects to the broker.');
  live.show(null, 'No device yet');
}

function banner(text) {
  const element = byId('banner');
  element.hidden = text === null;
  setText('banner', text ?? '');
}

function render(view) {
  byId('main').hidden = false;
  const address = view.local && view.status?.state === 'online' ? { fleet: view.fleet, device: view.device } : null;
  const camera = view.health.alarms.find((alarm) => alarm.component === 'camera' && alarm.pipeline === view.pipeline);
  showPipelines(view);
  sound.want(view.pipeline);
  live.show(address === null ? null : { ...address, pipeline: view.pipeline }, view.status?.state === 'online' ? 'The picture stays on the device, which cannot be reached from here' : view.status ? `The device is ${view.status.state}` : 'The device has not reported yet',
    camera ? `No picture: ${camera.title}. ${camera.message}. The device tries again by itself.` : null);
  renderPills(view);
  renderTiles(view);
  renderStages(view);
  renderTiming(view);
  renderEnergy(view);
  renderMachine(view);
  renderModel(view);
  shown = view;
  classes.offer(view.events.flatMap((event) => (event.type === 'finding' ? [[event.finding.label, event.finding.label]] : [])));
  showEvents();
  void recordings.show(address);
  live.refresh();
  charts.show(view.history, chartNotes(view));
  past.show(view, view.pipeline);
  byId('main').classList.toggle('away', view.status?.state !== 'online' || view.health.level === 'unknown');
  const key = `${deviceKey(view)}/${view.pipeline}`;
  if (key !== people.key || (address === null) !== people.away) {
    people.key = key;
    people.away = address === null;
    void people.show(address === null ? null : { ...address, pipeline: view.pipeline });
  } else {
    void people.keepFresh();
  }
}

/** One tab a pipeline, where a device has several. */
function showPipelines(view) {
  const tabs = byId('pipelines');
  tabs.hidden = view.pipelines.length < 2;
  fill('pipelines', view.pipelines.map(({ name, input }) => h('button', {
    type: 'button', 'aria-pressed': String(name === view.pipeline), title: `input ${input}`, 'data-pipeline': name,
  }, name)));
}

function chartNotes({ latest, history }) {
  const span = history.length < 2 ? '' : `last ${duration(history.at(-1).end_ms - history[0].end_ms)}`;
  const source = latest?.power_watts[0];
  return {
    'chart-latency': `capture to result, ${span}`,
    'chart-jitter': 'inter-arrival, RFC 3550',
    'chart-power': source ? `${source.source} ${source.scope}, ${source.quality}` : 'no source on this machine',
    'chart-memory': 'resident set of the agent',
  };
}

function soon() {
  timer ??= setTimeout(() => {
    timer = null;
    void load();
  }, SETTLE_MS);
}

function ifShown(address) {
  if (selected === null || deviceKey(address) === deviceKey(selected)) soon();
}

byId('device').addEventListener('change', (event) => {
  const chosen = fleet.devices.find((device) => deviceKey(device) === event.target.value);
  if (chosen !== undefined) choose(chosen);
});

/** Shows another device. */
function choose(address) {
  selected = address;
  table.select(address);
  pipeline = null;
  history.replaceState(null, '', deviceHash(selected));
  live.stop();
  sound.clear();
  strips.clear();
  classes.clear();
  void load();
}

/** Shows another pipeline of the device. */
function pick(name) {
  if (name === undefined || name === pipeline) return;
  pipeline = name;
  live.stop();
  void load();
}

byId('pipelines').addEventListener('click', (event) => pick(event.target.dataset?.pipeline));
listen('/api/stream', { device: ifShown, telemetry: ifShown, event: ifShown }, (open) => { if (open) soon(); });
setInterval(soon, REFRESH_MS);
document.addEventListener('visibilitychange', () => {
  if (document.visibilityState !== 'visible') return;
  soon();
  void rollouts.load();
});
showAccount();
showAudit();
void load();
