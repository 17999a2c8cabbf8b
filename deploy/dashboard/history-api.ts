/** What the page shows of the past: `GET devices/{fleet}/{device}/history`, and `GET compare`, two groups of devices side by side. */
import { Hono, type Context } from 'hono';
import { DEFAULT_PIPELINE } from '../../agent/contracts/index.js';
import type { FleetPast, PastRange } from '../collector/fleet-past.js';
import type { FleetRow, FleetTable } from '../collector/fleet-table.js';
import { inSteps, STEPS } from '../collector/history-store.js';
import { figuresOf, mergeDevices, RollupSum, type Rollup, type RollupFigures } from '../collector/rollup.js';
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
const DEFAULT_RANGE_MS = 6 * 3600 * SECOND;
const COMPARED_MS = 7 * DAY;
const NAMES = 200;
/** Devices whose rows are in memory at once. */
const DEVICES_AT_ONCE = 200;

export interface HistoryApiOptions {
  store: CollectorStore;
  past: FleetPast;
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

export function historyApi({ store, past, table }: HistoryApiOptions): Hono {
  const api = new Hono();
  api.get('/devices/:fleet/:device/history', async (context) => {
    const address = addressOf(context);
    const record = address === null ? null : store.device(address);
    if (record === null) return failure(context, 404, 'E_NOT_FOUND', 'No such device has been heard');
    const range = rangeOf(context, DEFAULT_RANGE_MS);
    if (range === null) return badRange(context);
    const pipeline = context.req.query('pipeline') ?? record.reported?.pipelines[0]?.name ?? DEFAULT_PIPELINE;
    const stepMs = POINT_MS.find((length) => (range.toMs - range.fromMs) / length <= POINTS) ?? 30 * DAY;
    // Single windows show more than a row of five minutes, as long as there are any.
    const windows = stepMs < LEAST_ROW_MS ? await past.windows(record, { pipeline, ...range }) : [];
    const oldest = windows[0]?.slotMs ?? Infinity;
    const stored = await past.rows([record], { pipeline, ...range }, { stepMs });
    const rows = [...stored.filter(({ slotMs, stepMs: length }) => slotMs + length <= oldest), ...windows];
    const total = new RollupSum();
    for (const { rollup } of stored.length === 0 ? rows : stored) total.add(rollup);
    return context.json({
      now_ms: Date.now(), from_ms: range.fromMs, to_ms: range.toMs, step_ms: stepMs, oldest_ms: await past.oldestMs(record), pipeline, source: past.source,
      points: inSteps(rows, stepMs).map(({ startMs, lengthMs, rollup, models }) => ({ t_ms: startMs, length_ms: lengthMs, models, ...figuresOf(rollup) })),
      total: total.total === null ? null : figuresOf(total.total),
    });
  });
  api.get('/compare', async (context) => {
    const range = rangeOf(context, COMPARED_MS);
    if (range === null) return badRange(context);
    const choices = await choicesOf(past, table.rows());
    const pipeline = context.req.query('pipeline') ?? choices.pipelines[0] ?? DEFAULT_PIPELINE;
    const groups = ['a', 'b'].flatMap((name) => groupOf(context.req.query(name) ?? '') ?? []);
    const asked = ['a', 'b'].filter((name) => context.req.query(name) !== undefined).length;
    if (groups.length < asked) return failure(context, 400, 'E_QUERY', 'Expected two groups, `a` and `b`: package:NAME VERSION, label:NAME=VALUE or device:FLEET/NAME');
    const sides = [];
    for (const group of groups) sides.push(await sideOf(past, table.rows(), { group, pipeline, ...range }));
    return context.json({ now_ms: Date.now(), from_ms: range.fromMs, to_ms: range.toMs, pipeline, choices, sides });
  });
  return api;
}

interface Choices { packages: string[]; labels: string[]; pipelines: string[] }

async function choicesOf(past: FleetPast, rows: readonly FleetRow[]): Promise<Choices> {
  const labels = new Set(rows.flatMap(({ labels: own }) => Object.entries(own).map(([name, value]) => `${name}=${value}`)));
  return { ...await past.names(NAMES), labels: [...labels].sort().slice(0, NAMES) };
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

/** The windows of a group, all histograms merged. A large fleet has many rows: of some devices at once, and others get their turn between them. */
async function sideOf(past: FleetPast, rows: readonly FleetRow[], { group, ...range }: PastRange & { group: Group }): Promise<Side> {
  const devices = rows.filter((one) => group.has(one));
  const totals: Rollup[] = [];
  const packages = new Set<string>();
  for (let i = 0; i < devices.length; i += DEVICES_AT_ONCE) {
    const sums = new Map<string, RollupSum>();
    for (const { fleet, device, model, rollup } of await past.rows(devices.slice(i, i + DEVICES_AT_ONCE), { ...range, model: group.model }, 'sum')) {
      const sum = sums.get(`${fleet}/${device}`) ?? new RollupSum();
      sums.set(`${fleet}/${device}`, sum);
      sum.add(rollup);
      if (model !== '') packages.add(model);
    }
    totals.push(...[...sums.values()].flatMap(({ total }) => total ?? []));
  }
  const merged = mergeDevices(totals);
  return { group: group.text, devices: totals.length, packages: [...packages].sort(), ...(merged === null ? {} : figuresOf(merged)) };
}
