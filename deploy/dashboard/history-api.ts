/** What the page shows of the past: `GET devices/{fleet}/{device}/history`, and `GET compare`, two groups of devices side by side. */
import { setImmediate } from 'node:timers/promises';
import { Hono, type Context } from 'hono';
import { DEFAULT_PIPELINE, type DeviceAddress } from '../../agent/contracts/index.js';
import type { FleetRow, FleetTable } from '../collector/fleet-table.js';
import { inSteps, STEPS, type HistoryRow } from '../collector/history-store.js';
import { packageText } from '../collector/latency-slots.js';
import { figuresOf, lostFrames, mergeDevices, rollupOf, RollupSum, type Rollup, type RollupFigures } from '../collector/rollup.js';
import type { CollectorStore } from '../collector/store.js';
import { addressOf } from './address.js';
import { failure } from './failure.js';

const SECOND = 1000;
const DAY = 86_400_000;
/** Points of a chart: more than one for two pixels of a phone is lost on everybody. */
const POINTS = 240;
/** Lengths of a point's time. Those from five minutes on are whole numbers of rows. */
const POINT_MS = [10 * SECOND, 30 * SECOND, 60 * SECOND, 300 * SECOND, 900 * SECOND, 3600 * SECOND, 6 * 3600 * SECOND, DAY, 7 * DAY];
const LEAST_ROW_MS = STEPS[0]?.stepMs ?? Infinity;
/** Newest windows of a device that are looked through for a range shorter than a few rows. */
const WINDOWS = 720;
const DEFAULT_RANGE_MS = 6 * 3600 * SECOND;
const COMPARED_MS = 7 * DAY;
const NAMES = 200;
/** Devices that are read before others get a turn. */
const DEVICES_AT_ONCE = 40;

export interface HistoryApiOptions {
  store: CollectorStore;
  table: FleetTable;
}

/** @throws never; null for a range that is none */
function rangeOf(context: Context, defaultMs: number): { fromMs: number; toMs: number } | null {
  const given = (name: string, otherwise: number): number => (context.req.query(name) === undefined ? otherwise : Number(context.req.query(name)));
  const toMs = given('to', Date.now());
  const fromMs = given('from', toMs - defaultMs);
  return Number.isFinite(fromMs) && Number.isFinite(toMs) && fromMs >= 0 && fromMs < toMs && toMs <= Number.MAX_SAFE_INTEGER ? { fromMs: Math.floor(fromMs), toMs: Math.ceil(toMs) } : null;
}

const badRange = (context: Context): Response => failure(context, 400, 'E_QUERY', 'Expected `from` before `to`, both in milliseconds since 1970');

export function historyApi({ store, table }: HistoryApiOptions): Hono {
  const api = new Hono();
  api.get('/devices/:fleet/:device/history', (context) => {
    const address = addressOf(context);
    const record = address === null ? null : store.device(address);
    if (record === null) return failure(context, 404, 'E_NOT_FOUND', 'No such device has been heard');
    const range = rangeOf(context, DEFAULT_RANGE_MS);
    if (range === null) return badRange(context);
    const pipeline = context.req.query('pipeline') ?? record.reported?.pipelines[0]?.name ?? DEFAULT_PIPELINE;
    const stepMs = POINT_MS.find((length) => (range.toMs - range.fromMs) / length <= POINTS) ?? 30 * DAY;
    // Single windows show more than a row of five minutes, as long as there are any.
    const windows = stepMs < LEAST_ROW_MS ? windowRows(store, record, { pipeline, ...range }) : [];
    const oldest = windows[0]?.slotMs ?? Infinity;
    const stored = store.history.rows(record, { pipeline, ...range });
    const rows = [...stored.filter(({ slotMs, stepMs: length }) => slotMs + length <= oldest), ...windows];
    const total = new RollupSum();
    for (const { rollup } of stored.length === 0 ? rows : stored) total.add(rollup);
    return context.json({
      now_ms: Date.now(), from_ms: range.fromMs, to_ms: range.toMs, step_ms: stepMs, oldest_ms: store.history.oldestMs(record), pipeline,
      points: inSteps(rows, stepMs).map(({ startMs, lengthMs, rollup, models }) => ({ t_ms: startMs, length_ms: lengthMs, models, ...figuresOf(rollup) })),
      total: total.total === null ? null : figuresOf(total.total),
    });
  });
  api.get('/compare', async (context) => {
    const range = rangeOf(context, COMPARED_MS);
    if (range === null) return badRange(context);
    const choices = choicesOf(store, table.rows());
    const pipeline = context.req.query('pipeline') ?? choices.pipelines[0] ?? DEFAULT_PIPELINE;
    const groups = ['a', 'b'].flatMap((name) => groupOf(context.req.query(name) ?? '') ?? []);
    const asked = ['a', 'b'].filter((name) => context.req.query(name) !== undefined).length;
    if (groups.length < asked) return failure(context, 400, 'E_QUERY', 'Expected two groups, `a` and `b`: package:NAME VERSION, label:NAME=VALUE or device:FLEET/NAME');
    const sides = [];
    for (const group of groups) sides.push(await sideOf(store, table.rows(), { group, pipeline, ...range }));
    return context.json({ now_ms: Date.now(), from_ms: range.fromMs, to_ms: range.toMs, pipeline, choices, sides });
  });
  return api;
}

/** Single windows in the form of rows; at their end by the clock of the device, which is that of the chart as long as it is right. */
function windowRows(store: CollectorStore, address: DeviceAddress, { pipeline, fromMs, toMs }: { pipeline: string; fromMs: number; toMs: number }): HistoryRow[] {
  const windows = store.windows(address, WINDOWS);
  const ofPipeline = windows.map((window) => window.pipelines.find(({ name }) => name === pipeline));
  return windows.flatMap((window, i) => {
    const [before, now] = [ofPipeline[i - 1], ofPipeline[i]];
    if (now === undefined || window.end_ms <= fromMs || window.end_ms > toMs) return [];
    const lost = windows[i - 1]?.boot_id === window.boot_id ? Math.max(0, lostFrames(now) - (before === undefined ? 0 : lostFrames(before))) : 0;
    return [{ stepMs: 0, slotMs: window.end_ms, model: packageText(now.model), rollup: rollupOf(window, now, lost) }];
  });
}

interface Choices { packages: string[]; labels: string[]; pipelines: string[] }

function choicesOf(store: CollectorStore, rows: readonly FleetRow[]): Choices {
  const labels = new Set(rows.flatMap(({ labels: own }) => Object.entries(own).map(([name, value]) => `${name}=${value}`)));
  return { ...store.history.names(NAMES), labels: [...labels].sort().slice(0, NAMES) };
}

interface Group {
  /** As it was asked for. */
  text: string;
  /** Package of which windows count; null: whatever ran. */
  model: string | null;
  has(row: FleetRow): boolean;
}

/** `package:faces 1.2.0`: whatever ran it, while it ran it. `label:ring=canary`: the devices that have the label now. `device:demo/door-1`: one device. Null for anything else. */
function groupOf(text: string): Group | null {
  const [, kind, name = ''] = /^(package|label|device):(.{1,300})$/s.exec(text) ?? [];
  if (kind === 'package') return { text, model: name, has: () => true };
  if (kind === 'device') return { text, model: null, has: (row) => `${row.fleet}/${row.device}` === name };
  const at = name.indexOf('=');
  return kind === 'label' && at > 0 ? { text, model: null, has: ({ labels }) => Object.hasOwn(labels, name.slice(0, at)) && labels[name.slice(0, at)] === name.slice(at + 1) } : null;
}

interface Side extends Partial<RollupFigures> {
  group: string;
  /** Devices with windows in the range. */
  devices: number;
  packages: string[];
}

/** The windows of a group, all histograms merged. In turns with whatever else the server does: a large fleet has many rows. */
async function sideOf(store: CollectorStore, rows: readonly FleetRow[], { group, ...range }: { group: Group; pipeline: string; fromMs: number; toMs: number }): Promise<Side> {
  const totals: Rollup[] = [];
  const packages = new Set<string>();
  for (const [i, row] of rows.filter((one) => group.has(one)).entries()) {
    if (i % DEVICES_AT_ONCE === DEVICES_AT_ONCE - 1) await setImmediate();
    const sum = new RollupSum();
    for (const { model, rollup } of store.history.rows(row, { ...range, model: group.model })) {
      sum.add(rollup);
      if (model !== '') packages.add(model);
    }
    if (sum.total !== null) totals.push(sum.total);
  }
  const merged = mergeDevices(totals);
  return { group: group.text, devices: totals.length, packages: [...packages].sort(), ...(merged === null ? {} : figuresOf(merged)) };
}
