import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Absent, Bar } from '../bars.js';
import { mosquittoMissing } from '../transfer/mosquitto.js';
import type { Losses } from './kills.js';
import type { FleetBenchOptions } from './options.js';
import { rabbitmqMissing } from './rabbitmq.js';
import { postgresFolder, victoriaMetricsMissing } from './store-servers.js';

/** They are in the process of the bench itself. */
const OUTAGE_DEVICES = 2000;

type Section = (options: FleetBenchOptions & { folder: string }) => Promise<Bar[]>;

const withBroker = (missing: () => string | null, section: Section) => async (options: FleetBenchOptions): Promise<Bar[] | Absent> => {
  const absent = missing();
  if (absent !== null) return { absent };
  const folder = await mkdtemp(join(tmpdir(), 'sterna-fleet-'));
  try {
    return await section({ ...options, folder });
  } catch (error) {
    options.signal.throwIfAborted(); // a pause that was interrupted says only that it was
    throw error;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
};

const withMosquitto = (section: Section): ReturnType<typeof withBroker> => withBroker(() => (mosquittoMissing() ? 'mosquitto is not installed' : null), section);
const withRabbitmq = (section: Section): ReturnType<typeof withBroker> => withBroker(() => (rabbitmqMissing() ? 'rabbitmq-server is not installed' : null), section);
const withLargeStore = (section: Section): ReturnType<typeof withBroker> => withBroker(
  () => (mosquittoMissing() || postgresFolder === undefined || victoriaMetricsMissing() ? 'mosquitto, postgresql or victoria-metrics is not installed' : null), section);

/** What `npm run bench:fleet` measures: one line a section, loaded on demand. */
export const fleetSections: Readonly<Record<string, (options: FleetBenchOptions) => Promise<Bar[] | Absent>>> = {
  load: withMosquitto(async (options) => (await import('./load.js')).loadBars(options)),
  'large-store': withLargeStore(async (options) => (await import('./large-store.js')).largeStoreBars(options)),
  cluster: withRabbitmq(async (options) => (await import('./cluster.js')).clusterBars(options)),
  rollout: withMosquitto(async (options) => (await import('./rollout-load.js')).rolloutBars(options)),
  kills: withMosquitto(async ({ folder, kills, signal }) => {
    const { collectorKilled } = await import('./kills.js');
    return lossBars('kills', `SIGKILL of the collector at ${kills} random moments`, await collectorKilled({ folder, devices: 20, intervalMs: 500, kills, maxMs: 1500, seed: 1, signal }));
  }),
  outage: withMosquitto(async ({ folder, awaySeconds, signal, ...options }) => {
    const devices = Math.min(options.devices, OUTAGE_DEVICES);
    const { storeAway } = await import('./kills.js');
    return lossBars('outage', `the store is away for ${awaySeconds} s, ${devices} devices`, await storeAway({ folder, devices, intervalMs: 10_000, awayMs: awaySeconds * 1000, signal }));
  }),
};

function lossBars(id: string, what: string, { sent, lost, doubled }: Losses): Bar[] {
  const none = (kind: string, value: number): Bar => ({ id: `fleet.${id}.${kind}`, what: `${what}: windows ${kind} of ${sent}`, value, unit: 'windows', bar: '= 0', met: value === 0 && sent > 0 });
  return [none('lost', lost), none('doubled', doubled)];
}
