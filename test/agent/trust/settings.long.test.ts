/** Releases of settings, and attacks on them that a broker mounts. The ids are those of agent/trust/RULES.md. */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { settingsText, type Desired, type Settings, type Signed } from '../../../agent/contracts/index.js';
import type { HeldSettings } from '../../../deploy/publish/settings.js';
import { until } from '../support/tools.js';
import { fakeItem, TrustBench } from './bench.js';
import { directed, SignedFleet } from './fleet.js';

const NIGHT: Settings = { match_threshold: 0.6, fps: 4, zones: [{ name: 'yard', kind: 'include', points: [[0.1, 0.4], [0.9, 0.4], [0.9, 1]] }] };
const DAY: Settings = { match_threshold: 0.5 };

function release(name: string, settings: Settings): HeldSettings {
  const text = settingsText(settings);
  return { name, settings, text, digest: createHash('sha256').update(text).digest('hex') };
}

type SignedDesired = Desired & { signed: Signed };

/** An honest message with these settings, which the repository has released. */
function honest(bench: TrustBench, settings: Settings, fleet?: string): SignedDesired {
  bench.fleet.repository.addSettings(release('night', settings), fleet);
  return bench.fleet.desired(bench.next(), null, { settings });
}

async function takes(bench: TrustBench, desired: SignedDesired): Promise<void> {
  await bench.side.desire(desired);
  await bench.side.untilReported('the settings are taken', (r) => r.generation_applied === desired.generation && settingsText(r.settings) === settingsText(desired.settings));
  expect(bench.side.reported.at(-1)?.refused).toBeNull();
  // The package is opened again after the report; what follows counts how often it was opened.
  await until('the package runs with them', () => bench.runtime.opened.at(-1)?.overrides.match_threshold === desired.settings?.match_threshold);
}

describe('settings of a pipeline', () => {
  it('OTA-065: change without another model when both repositories have signed them, hold after a restart, and stay with the next package', async () => {
    const bench = await TrustBench.start();
    const requests = bench.side.requests.length;
    await takes(bench, honest(bench, NIGHT));
    expect(bench.side.requests).toHaveLength(requests);
    expect(bench.side.reported.at(-1)?.slots.active?.version).toBe('1.0.0');
    await bench.agent.stop();
    await bench.boot();
    expect(bench.side.reported.at(-1)?.settings).toEqual(NIGHT);
    const two = fakeItem('2.0.0', 2);
    bench.offer(two);
    bench.fleet.add(two);
    // What the pipeline has needs no proof: here the director knows that, and names no release.
    const desired = bench.fleet.desired(bench.next(), two, { settings: NIGHT });
    const signed = bench.fleet.director.sign({ fleet: 'test', device: 'door', pipeline: 'main' }, desired, { image: 0, director: 0, settings: NIGHT });
    expect(signed.director.targets).toContain('\\"settings_target\\":null');
    await bench.side.desire({ ...desired, signed });
    await bench.side.untilReported('2.0.0 runs', (r) => r.slots.active?.version === '2.0.0');
    expect(bench.side.reported.at(-1)?.settings).toEqual(NIGHT);
  });

  it('OTA-065: the director alone changes none, nor takes any away, whatever the broker says that the device has', async () => {
    const bench = await TrustBench.start();
    await bench.refuses('E_TRUST_SETTINGS', bench.fleet.desired(bench.next(), null, { settings: { match_threshold: -1 } }));
    await bench.refuses('E_TRUST_UNSIGNED', { schema_version: 2, generation: bench.next(), package: null, settings: DAY });
    await takes(bench, honest(bench, DAY));
    await bench.refuses('E_TRUST_SETTINGS', bench.fleet.desired(bench.next(), null));
    await takes(bench, honest(bench, {}));
  });

  it('OTA-066: changed, foreign, or unknown to the image repository: refused', async () => {
    const bench = await TrustBench.start();
    const genuine = honest(bench, NIGHT);
    await bench.refuses('E_TRUST_ADDRESS', { ...genuine, settings: { ...NIGHT, match_threshold: -1 } });
    const partial = bench.fleet.desired(bench.next(), null, { settings: NIGHT });
    await bench.refuses('E_TRUST_PARTIAL', { ...partial, signed: { ...partial.signed, image: null } });
    // Of another fleet: its own director does not find them, and one that names them all the same is refused.
    const other = release('night', { fps: 9 });
    bench.fleet.repository.addSettings(other, 'elsewhere');
    await bench.refuses('E_TRUST_SETTINGS', bench.fleet.desired(bench.next(), null, { settings: other.settings }));
    for (const [path, code] of [['elsewhere/night-2.settings.json', 'E_TRUST_ADDRESS'], ['all/night-9.settings.json', 'E_TRUST_ARBITRARY'], ['all/night-1.settings.json', 'E_TRUST_DISAGREE'], ['all/faces-1.0.0.sterna', 'E_TRUST_FORMAT']] as const) {
      await bench.refuses(code, naming(bench, path, other.settings));
    }
    await takes(bench, bench.fleet.desired(bench.next(), null, { settings: NIGHT }));
  });

  it('OTA-067: an older release is refused; to go back, it is released again', async () => {
    const bench = await TrustBench.start();
    await takes(bench, honest(bench, DAY));
    await takes(bench, honest(bench, NIGHT));
    await bench.refuses('E_TRUST_RELEASE', bench.fleet.desired(bench.next(), null, { settings: DAY }));
    await bench.agent.stop();
    await bench.boot();
    await bench.refuses('E_TRUST_RELEASE', bench.fleet.desired(bench.next(), null, { settings: DAY }));
    await takes(bench, honest(bench, DAY));
  });

  it('OTA-065: where the configuration says so, the director alone may change them', async () => {
    const fleet = new SignedFleet();
    const bench = await TrustBench.start({ fleet, config: { trust: { hardware_id: 'x64', settings_by: 'director', image_root: fleet.rootFiles.image, director_root: fleet.rootFiles.director } } });
    await takes(bench, bench.fleet.desired(bench.next(), null, { settings: { match_threshold: 0.3 } }));
  });
});

/** A message of a director that was taken over: it names this path as the release of the settings. */
function naming(bench: TrustBench, path: string, settings: Settings): Desired {
  const desired = bench.fleet.desired(bench.next(), null, { settings: NIGHT });
  const stated = { ...desired, settings };
  const { director } = bench.fleet.director.sign({ fleet: 'test', device: 'door', pipeline: 'main' }, stated, { image: 0, director: 0, settings });
  return directed(bench.fleet, { ...stated, signed: { ...desired.signed, director } }, (signed) => {
    signed['statement'] = JSON.stringify({ ...(JSON.parse(String(signed['statement'])) as object), settings_target: path });
  });
}
