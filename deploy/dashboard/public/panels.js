import { byId, facts, fill, h, qualityTag, setText } from './dom.js';
import { detailOf, nameOf } from './finding.js';
import { bytes, celsius, count, duration, hertz, millijoules, ms, number, percent, shortDigest, time } from './format.js';

const STATES = { online: 'online', offline: 'offline', stopped: 'stopped', unknown: 'not reported yet' };
const OTA_STEPS = ['downloading', 'verifying', 'staged', 'warming', 'committed'];
/** States between two steps, shown as the step that they belong to. */
const STEP_OF = { checking: 'downloading', shadow: 'warming' };
const BUSY = ['checking', 'downloading', 'verifying', 'staged', 'warming', 'shadow'];
const KINDS = { warm: ['Full pipeline', '--series-1'], partial: ['Part of the picture', '--series-4'], features: ['Stopped at the feature gate', '--series-5'], pixels: ['Stopped at the pixel gate', '--series-3'], silence: ['Silence', '--muted'], late: ['Late', '--bad'], cold: ['Cold start', '--series-2'] };

/** State of the device and of its model, in the header. */
export function renderPills(view) {
  const state = view.status?.state ?? 'unknown';
  const since = state === 'online' ? '' : ` since ${time(view.seen_ms)} (${duration(view.now_ms - view.seen_ms)})`;
  const active = view.reported?.slots.active;
  const ota = view.reported?.ota;
  const busy = ota !== undefined && BUSY.includes(ota.state);
  const { level, alarms } = view.health;
  fill('pills',
    h('span', { class: `pill pill-${state} health-${level}` }, h('i', { class: 'dot' }), `${STATES[state] ?? state}${since}${level === 'unknown' && state === 'online' ? ' when last heard' : ''}`),
    alarms.filter(({ component }) => component !== 'device').map(({ level: severity, title, message, code }) => h('span', { class: `pill pill-${severity}`, title: `${code}: ${message}` }, title)),
    active ? h('span', { class: 'pill' }, `${active.name} ${active.version}`) : null,
    busy ? h('span', { class: 'pill pill-busy' }, `${[ota.state, packageText(ota.package), progressText(ota)].filter(Boolean).join(' ')}`) : null,
    view.latest?.thermal.throttled ? h('span', { class: 'pill pill-offline' }, 'throttled') : null);
}

export function renderTiles({ recent, latest, energy }) {
  const zone = hottest(latest);
  // Net of idle where that is known: the gross figure of an almost idle span is that of the machine, not of the model.
  const [perInference, energyUnit] = millijoules(energy?.net_joules ?? energy?.gross_joules);
  const tiles = [
    ['Latency p50', number(recent?.raw?.p50_ms), 'ms', 'capture to result'],
    ['Latency p99', number(recent?.raw?.p99_ms), 'ms', 'capture to result'],
    ['Frames', number(recent?.frames_per_second), '/s', 'with and without inference'],
    ['Energy per inference', perInference, energyUnit, energy ? [`${energy.net_joules === null ? 'gross' : 'net of idle'}, ${energy.source} `, qualityTag(energy.quality)] : 'no source'],
    ['Temperature', zone ? zone.celsius.toFixed(1) : '–', zone ? '°C' : '', zone ? `${zone.zone}, measured` : 'no sensor on this machine'],
    ['Memory', latest ? number(latest.memory.rss_bytes / 1e6) : '–', latest ? 'MB' : '', 'resident set of the agent'],
  ];
  fill('tiles', tiles.map(([label, value, unit, detail]) => h('div', { class: 'tile' },
    h('p', { class: 'tile-label' }, label), h('p', { class: 'tile-value' }, value, unit ? h('span', { class: 'unit' }, unit) : null), h('p', { class: 'tile-detail' }, detail))));
}

function hottest(latest) {
  return (latest?.thermal.zones ?? []).reduce((best, zone) => (best === null || zone.celsius > best.celsius ? zone : best), null);
}

export function renderStages({ recent }) {
  const body = byId('stages').tBodies[0];
  const stages = (recent?.stages ?? []).filter((stage) => stage.kind === 'warm');
  const rows = stages.length > 0 ? stages : (recent?.stages ?? []);
  const largest = Math.max(1e-6, ...rows.map((stage) => stage.p99_ms));
  setText('stages-note', recent ? `last ${duration(recent.end_ms - recent.start_ms)}: ${rows === stages ? 'frames that ran the full pipeline' : 'all frames'}` : '');
  fill(body, rows.length === 0
    ? h('tr', {}, h('td', { colspan: '6', class: 'empty' }, 'No frames yet.'))
    : rows.map((stage) => stageRow(stage, largest)));
  renderExits(recent);
}

function stageRow(stage, largest) {
  const width = (value) => `${Math.max(0.5, (value / largest) * 100)}%`;
  return h('tr', {},
    h('th', { scope: 'row' }, stage.stage.replace(/_/g, ' ')),
    h('td', { class: 'num' }, ms(stage.p50_ms)), h('td', { class: 'num' }, ms(stage.p99_ms)),
    h('td', { class: 'num max' }, ms(stage.max_ms)), h('td', { class: 'num' }, count(stage.count)),
    h('td', { class: 'bar-col', 'aria-hidden': 'true' }, h('span', { class: 'bar' },
      h('span', { class: 'bar-p99', style: { width: width(stage.p99_ms) } }), h('span', { class: 'bar-p50', style: { width: width(stage.p50_ms) } }))));
}

/** How many frames went how far. */
function renderExits(recent) {
  const entries = Object.entries(recent?.exits ?? {}).filter(([, n]) => n > 0);
  const total = entries.reduce((sum, [, n]) => sum + n, 0);
  if (total === 0) return fill('exits');
  fill('exits',
    h('div', { class: 'stack', 'aria-hidden': 'true' }, entries.map(([kind, n]) => h('span', { style: { 'flex-grow': String(n), background: `var(${KINDS[kind]?.[1] ?? '--muted'})` } }))),
    h('ul', { class: 'legend' }, entries.map(([kind, n]) => h('li', {},
      h('i', { class: 'dot', style: { background: `var(${KINDS[kind]?.[1] ?? '--muted'})` } }), `${KINDS[kind]?.[0] ?? kind} `, h('strong', {}, percent(n / total)), h('span', { class: 'muted' }, ` ${count(n)}`)))));
}

export function renderTiming({ recent }) {
  const jitter = recent?.jitter;
  setText('timing-note', recent ? `last ${duration(recent.end_ms - recent.start_ms)}` : '');
  if (!jitter) return facts('timing', [['State', 'no telemetry yet']]);
  const missed = jitter.deadlines === 0 ? 'no frames' : `${count(jitter.deadlines_missed)} of ${count(jitter.deadlines)}`;
  facts('timing', [
    ['Jitter, RFC 3550', ms(jitter.rfc3550_ms)],
    ['Delay variation p50, RFC 5481', ms(jitter.pdv_p50_ms)],
    ['Delay variation p99, RFC 5481', ms(jitter.pdv_p99_ms)],
    [`Deadlines of ${ms(jitter.deadline_ms)} missed`, missed],
    ['p99 with waiting frames', h('span', { title: 'Corrected for coordinated omission: includes frames that would have waited behind a slow one' }, ms(recent.corrected?.p99_ms))],
    ['Frames lost by model switches', count(recent.counters.frames_dropped_by_swap_total ?? 0)],
  ]);
}

export function renderEnergy({ recent, latest, caps, energy }) {
  if (!recent || !latest) return facts('energy', [['State', 'no telemetry yet']]);
  const perInference = (value) => millijoules(value).join(' ').trim();
  facts('energy', [
    ['Per inference, gross', energy ? perInference(energy.gross_joules) : '–', ' ', energy ? qualityTag(energy.quality) : null],
    ['Per inference, net of idle', energy?.net_joules != null ? perInference(energy.net_joules) : 'unknown'],
    energy ? ['Inferences counted', `${count(energy.inferences)} in ${duration(energy.span_ms)}`] : null,
    ...recent.power_watts.filter(({ quality }) => quality !== 'invalid').map(({ source, scope, quality, watts }) => [`${source} ${scope}`, `${number(watts)} W `, qualityTag(quality)]),
    recent.power_watts.length === 0 ? ['Sources', caps?.energy.length ? 'no reading yet' : 'none on this machine'] : null,
    ...invalidRows(latest),
    ...latest.thermal.zones.map((zone) => [zone.zone, celsius(zone.celsius), h('span', { class: 'muted' }, zone.trip_celsius === null ? ` max ${celsius(zone.celsius_max)}` : ` of ${celsius(zone.trip_celsius)}`)]),
    latest.thermal.zones.length === 0 ? ['Temperature', 'no sensor on this machine'] : null,
    latest.governor ? ['Governor', latest.governor.rung === 0 ? 'all of the work' : `rung ${latest.governor.rung} of ${latest.governor.rungs - 1}`] : null,
    ['Throttled', latest.thermal.throttled ? 'now' : latest.thermal.throttled_since_boot ? 'not now, but since boot' : 'no'],
  ]);
}

/** Sensors that are there and whose readings cannot be true: nothing else on the page counts them. */
function invalidRows({ energy, thermal }) {
  const sensors = [
    ...energy.sources.filter(({ quality }) => quality === 'invalid').map(({ source, scope, reason }) => [`${source} ${scope}`, reason ?? 'invalid']),
    ...(thermal.invalid ?? []).map(({ sensor, reason }) => [sensor, reason]),
  ];
  return sensors.map(([name, reason]) => [name, `${reason.replaceAll('_', ' ')} `, qualityTag('invalid')]);
}

export function renderMachine({ caps, status, latest, fleet, device }) {
  const compute = caps?.compute;
  facts('machine', [
    ['Name', `${fleet} / ${device}`],
    caps ? ['CPU', caps.machine.cpu, h('span', { class: 'muted' }, ` ${caps.machine.cores} cores, ${caps.machine.arch}`)] : null,
    caps ? ['System', `${caps.machine.os} ${caps.machine.kernel}`] : null,
    caps ? ['Kernels', compute ? `${compute.isa} ` : 'native kernels not installed', compute ? h('span', { class: 'muted' }, compute.isas.filter((i) => i.built && i.runnable).map((i) => i.isa).join(', ')) : null] : null,
    ...(latest?.thermal.cpus.slice(0, 1) ?? []).map((cpu) => ['Clock', `${hertz(cpu.current_hertz)} of ${hertz(cpu.max_hertz)}`]),
    latest ? ['Memory', `${bytes(latest.memory.rss_bytes)} resident, peak ${bytes(latest.memory.rss_peak_bytes)}`] : null,
    latest ? ['of which pipeline', bytes(latest.memory_bytes)] : null,
    status ? ['Agent', `${status.version}`, h('span', { class: 'muted' }, `, clock ${status.clock_synchronized ? 'synchronized' : 'not synchronized'}`)] : null,
  ]);
}

export function renderModel({ reported, now_ms: now }) {
  if (!reported) return fill('ota', h('p', { class: 'empty' }, 'The device has not reported yet.'));
  const { ota, slots } = reported;
  setText('model-note', reported.generation_seen === reported.generation_applied ? 'as desired' : ota.state.replace('_', ' '));
  const failed = ota.state === 'rejected' || ota.state === 'rolled_back';
  const reached = OTA_STEPS.indexOf(STEP_OF[ota.state] ?? ota.state);
  const incoming = ota.package !== null && (BUSY.includes(ota.state) || failed) ? ota.package : null;
  fill('ota',
    h('ol', { class: 'steps', 'aria-label': `Update state: ${ota.state}` }, OTA_STEPS.map((step, i) => h('li', {
      class: failed ? 'step' : i < reached || ota.state === 'committed' ? 'step done' : i === reached ? 'step now' : 'step',
      'aria-current': i === reached ? 'step' : null,
    }, step))),
    ota.blocks_total > 0 && !failed ? h('div', { class: 'progress-row' },
      h('progress', { max: ota.blocks_total, value: ota.blocks_done, 'aria-label': 'Blocks received' }), h('span', { class: 'muted' }, progressText(ota))) : null,
    ota.transfer?.web_error ? h('p', { class: 'muted' }, `The web server was given up: ${ota.transfer.web_error.code} ${ota.transfer.web_error.message}`) : null,
    failed ? h('p', { class: 'message bad' }, `${ota.state.replace('_', ' ')}: ${ota.error?.code ?? ''} ${ota.error?.message ?? ''}`) : null,
    h('dl', { class: 'facts' }, reported.adapt ? h('div', {}, h('dt', {}, 'Adapted thresholds'), h('dd', {}, adaptText(reported.adapt))) : null, incoming ? packageRow(failed ? 'Refused' : 'Incoming', incoming) : null, slotRow('Running', slots.active, now), slotRow('Previous', slots.previous, now),
      reported.probation ? h('div', {}, h('dt', {}, 'Probation'), h('dd', {}, 'repeated crashes make the device return to the previous package')) : null));
}

function slotRow(label, slot, now) {
  return h('div', {}, h('dt', {}, label), slot
    ? h('dd', {}, h('strong', {}, `${slot.name} ${slot.version}`), h('span', { class: 'muted' }, ` ${bytes(slot.size_bytes)}, for ${duration(now - slot.since_ms)}, `), h('code', { title: slot.digest }, shortDigest(slot.digest)))
    : h('dd', {}, 'none'));
}

const ADAPTS = { gathering: 'takes frames', tuning: 'computes', judging: 'takes frames that judge', adapted: 'in force', unchanged: "the package's own" };

/** How far thresholds are adapted to what the camera sees. */
function adaptText({ state, frames, gain, reason }) {
  const facts = [ADAPTS[state] ?? state, gain === null ? null : `${percent(gain)} of the error won back`, frames > 0 ? `${count(frames)} frames` : null, reason];
  return facts.filter((fact) => fact !== null).join(', ');
}

function packageRow(label, pack) {
  return h('div', {}, h('dt', {}, label), h('dd', {}, h('strong', {}, packageText(pack)), h('span', { class: 'muted' }, ` ${bytes(pack.size_bytes)}, `), h('code', { title: pack.digest }, shortDigest(pack.digest))));
}

const packageText = (pack) => (pack ? `${pack.name} ${pack.version}` : '');
const WAITS = { publisher: 'the publisher is busy', maintenance: 'waits for its maintenance window', metered: 'waits for a link that is not metered' };

const SOURCES = { mqtt: ' over MQTT', web: ' from the web server' };

/** Bytes, who sends them, rate and remaining time while a package is downloaded; else how many pieces it had. */
function progressText({ transfer, blocks_done: done, blocks_total: total }) {
  if (!transfer) return total > 0 ? `${done} of ${total} blocks` : '';
  const waits = WAITS[transfer.waiting];
  const pace = transfer.bytes_per_s > 0 ? `, ${bytes(transfer.bytes_per_s)}/s${transfer.eta_s === null ? '' : `, ${duration(transfer.eta_s * 1000)} left`}` : '';
  return `${bytes(transfer.bytes_done)} of ${bytes(transfer.bytes_total)}${SOURCES[transfer.source] ?? ''}${waits ? `, ${waits}` : pace}`;
}

/** @param shows whether findings of a class are listed @param thumb the picture of an event, or null */
export function renderEvents({ events, pipelines }, { shows, thumb }) {
  const several = pipelines.length > 1;
  const listed = events.filter((event) => event.type !== 'finding' || shows(event.finding.label));
  setText('events-note', events.length === 0 ? '' : `${events.length} kept${listed.length < events.length ? `, ${listed.length} shown` : ''}`);
  fill('events', listed.length === 0 ? h('li', { class: 'empty' }, events.length === 0 ? 'Nothing has happened yet.' : 'No event of the chosen classes.') : listed.map((event) => eventRow(event, several, thumb(event))));
}

function eventRow(event, several, picture) {
  const { kind, title, detail } = describeEvent(event);
  return h('li', { class: `event event-${kind}${picture === null ? '' : ' event-seen'}` },
    h('time', { datetime: new Date(event.time_ms).toISOString() }, time(event.time_ms)),
    h('span', { class: 'event-title' }, title), h('span', { class: 'muted' }, `${several && event.pipeline !== null ? `${event.pipeline}${detail ? ' · ' : ''}` : ''}${detail}${event.backfill ? ' · delivered late' : ''}`), picture);
}

function describeEvent(event) {
  switch (event.type) {
    case 'finding': {
      const { finding } = event;
      const name = finding.identity === null && finding.liveness?.live !== false ? `An unknown ${finding.label}` : nameOf(finding);
      if (event.action === 'left') return { kind: 'left', title: `${name} left`, detail: event.visible_ms === undefined ? '' : `after ${duration(event.visible_ms)}` };
      return { kind: finding.identity ? 'known' : 'unknown', title: `${name} ${event.action}`, detail: `${detailOf(finding)} · ${ms(event.latency_ms)} after capture` };
    }
    case 'model': return { kind: event.action === 'activated' ? 'model' : 'fault', title: `${event.package.name} ${event.package.version} ${event.action.replace('_', ' ')}`, detail: event.error ? `${event.error.code}: ${event.error.message}` : `${event.frames_dropped_by_swap} frames lost by the switch` };
    case 'governor': return {
      kind: event.action === 'lowered' ? 'fault' : 'left', title: event.action === 'lowered' ? 'does less' : 'does more again',
      detail: `${event.reason}${event.reading.celsius === null ? '' : ` · ${event.reading.celsius.toFixed(1)} °C`} · rung ${event.to} of ${event.rungs - 1}`,
    };
    case 'adaptation': return {
      kind: event.action === 'accepted' ? 'model' : event.action === 'failed' ? 'fault' : 'left', title: `adapted thresholds of ${event.package.name} ${event.package.version} ${event.action}`,
      detail: event.action === 'accepted' ? `${event.gain === null ? '' : `${percent(event.gain)} of the error won back, `}${count(event.frames)} frames` : event.reason ?? '',
    };
    case 'fault': return { kind: event.cleared ? 'left' : 'fault', title: event.cleared ? `${event.component} recovered` : `${event.component} ${event.severity}`, detail: `${event.error.code}: ${event.error.message}` };
    default: return { kind: 'left', title: event.type, detail: '' };
  }
}
