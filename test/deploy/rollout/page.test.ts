/** The panel of roll-outs, in a browser. */
import { createHash } from 'node:crypto';
import type { BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Collector } from '../../../deploy/collector/collector.js';
import { CollectorStore } from '../../../deploy/collector/store.js';
import { Dashboard } from '../../../deploy/dashboard/server.js';
import { stepRollout, type RolloutEvent } from '../../../deploy/rollout/machine.js';
import { defaultSpec, parseWave } from '../../../deploy/rollout/spec.js';
import { RolloutStore } from '../../../deploy/rollout/store.js';
import { chromiumMissing, HOSTILE, picture, usePages } from '../browser.js';

let store: CollectorStore;
let rollouts: RolloutStore;
let dashboard: Dashboard;
beforeAll(async () => {
  store = new CollectorStore(':memory:');
  dashboard = new Dashboard({ port: 0, collector: new Collector({ url: 'mqtt://127.0.0.1:1' }, store), store, rollouts: () => rollouts });
  await dashboard.start();
});
afterAll(async () => {
  await dashboard.stop();
  store.close();
});
beforeEach(() => { rollouts = new RolloutStore(':memory:'); });
afterEach(() => rollouts.close());

/** A roll-out of 100 devices, of which 5, 20 and 75 are in the waves. */
function begin(id = 'faces-2'): void {
  const devices = Array.from({ length: 100 }, (_, i) => ({ device: `door-${i}`, pipeline: 'main', wave: i < 5 ? 0 : i < 25 ? 1 : 2, offset_ms: 0 }));
  const wanted = { name: 'faces', version: '2.0.0', digest: createHash('sha256').update(id).digest('hex'), size_bytes: 3_200_000, block_bytes: 65_536 };
  rollouts.create({ id, fleet: 'demo', package: wanted, spec: { ...defaultSpec, waves: ['ring=canary', '25%', '100%'].map(parseWave), spread_ms: 0, soak_ms: 0, seed: 's' }, created_ms: Date.now() - 65_000, created_by: 'ada' }, devices);
}

type Own<T> = T extends unknown ? Omit<T, 'device' | 'now_ms'> : never;
function step(event: Own<RolloutEvent>, device?: string, id = 'faces-2'): void {
  const now = Date.now();
  rollouts.step(id, { nowMs: now, ...(device === undefined ? {} : { device }) }, ({ spec, state }, row) => stepRollout(spec, state, { ...event, now_ms: now, ...(row === null ? {} : { device: row }) } as RolloutEvent));
}

/** Every device of a range starts and ends; those of `bad` are refused. */
function run(from: number, to: number, bad: readonly number[] = []): void {
  step({ type: 'tick' });
  for (let i = from; i < to; i++) {
    step({ type: 'due', before: { name: 'faces', version: '1.0.0', digest: 'ab'.repeat(32), size_bytes: 1 }, generation: 7 }, `door-${i}`);
    step({ type: 'asked', generation: 7 }, `door-${i}`);
    step({ type: 'ended', outcome: bad.includes(i) ? 'rejected' : 'proven', error: bad.includes(i) ? { code: 'E_OTA_GATE_LATENCY', message: HOSTILE } : null }, `door-${i}`);
  }
  step({ type: 'tick' });
}

describe('the API of roll-outs', () => {
  const get = async (path: string): Promise<unknown> => (await fetch(`${dashboard.url}/api/rollouts${path}`)).json();

  it('gives waves, counts, the halt with devices and codes, and the devices that failed first', async () => {
    begin();
    run(0, 5);
    run(5, 25, [6, 11]);
    expect(await get('')).toMatchObject({ rollouts: [{ id: 'faces-2', phase: 'halted', size: 100, requested: null, waves: [{ groups: { succeeded: 5 } }, { groups: { failed: 1, waiting: 15 }, size: 20 }, { groups: { waiting: 75 } }], halt: { rule: 'errors', codes: { E_OTA_GATE_LATENCY: 1 }, devices: [{ device: 'door-6' }] } }] });
    expect(await get('/faces-2')).toMatchObject({ devices_total: 100, devices: expect.arrayContaining([]) as unknown });
    expect((await get('/faces-2') as { devices: unknown[] }).devices[0]).toMatchObject({ device: 'door-6', phase: 'failed', before: 'faces 1.0.0' });
  });

  it('leaves requests for the server of the fleet, of its own page only', async () => {
    begin();
    const post = (path: string, headers: Record<string, string> = {}): Promise<Response> => fetch(`${dashboard.url}/api/rollouts/${path}`, { method: 'POST', headers });
    expect((await post('faces-2/pause', { origin: 'http://evil.example' })).status).toBe(403);
    expect(rollouts.nextRequest('faces-2')).toBeNull();
    expect((await post('faces-2/pause', { origin: dashboard.url })).status).toBe(202);
    expect(rollouts.nextRequest('faces-2')).toMatchObject({ kind: 'pause', by: 'the page' });
    expect((await post('faces-2/delete')).status).toBe(404);
    expect((await post('other/pause')).status).toBe(409);
    expect((await fetch(`${dashboard.url}/api/rollouts/other`)).status).toBe(404);
  });
});

describe.skipIf(chromiumMissing !== undefined)(`the panel of roll-outs in a browser${chromiumMissing === undefined ? '' : ` (${chromiumMissing})`}`, () => {
  const { open: openPage } = usePages();
  const open = (options: BrowserContextOptions = {}): Promise<Page> => openPage(dashboard.url, { colorScheme: 'dark', ...options });

  it('is not there without a roll-out', async () => {
    const page = await open();
    await expect.poll(() => page.locator('#banner').innerText()).toContain('No device has reported yet');
    expect(await page.locator('#rollouts').isVisible()).toBe(false);
  });

  it('draws the waves, says why it halted, lists devices, and fits phones in light and dark', async () => {
    begin();
    run(0, 5);
    run(5, 12, [6, 7]);
    step({ type: 'resume', by: 'ada' });
    run(8, 22, [20]);
    const page = await open();
    await page.waitForSelector('#rollouts .wave');
    expect(await page.locator('#rollouts .wave').count()).toBe(3);
    expect(await page.locator('#rollouts').innerText()).toMatch(/faces 2\.0\.0 to 100 devices of demo[\s\S]*ring=canary · 5 devices · passed[\s\S]*5 succeeded[\s\S]*25 % · 20 devices · open[\s\S]*Halted\. [\s\S]*E_OTA_GATE_LATENCY/);
    expect(await page.locator('#rollouts .wave-bar').nth(1).getAttribute('aria-label')).toMatch(/^Wave 2, 25 %: \d+ succeeded, \d+ failed, \d+ waiting$/);
    // The picture is to scale: the failed part of the second wave is as wide as its share of the devices.
    const widths = await page.evaluate<{ failed: number; all: number }>(`(() => {
      const bar = document.querySelectorAll('#rollouts .wave-bar')[1];
      return { failed: bar.querySelector('.group-failed').getBoundingClientRect().width, all: bar.getBoundingClientRect().width };
    })()`);
    const failed = rollouts.require('faces-2').state.waves[1]?.counts.failed ?? 0;
    expect(widths.failed / widths.all).toBeGreaterThan((failed / 20) * 0.7);
    expect(widths.failed / widths.all).toBeLessThan((failed / 20) * 1.3);
    await page.click('#rollouts .rollout-devices summary');
    await expect.poll(() => page.locator('#rollouts tbody tr').count()).toBe(100);
    expect(await page.locator('#rollouts tbody tr').first().innerText()).toContain(HOSTILE);
    await picture(page, 'rollout-dark');
    const phone = await open({ viewport: { width: 390, height: 844 }, colorScheme: 'light', isMobile: true, hasTouch: true });
    await phone.waitForSelector('#rollouts .wave');
    expect(await phone.evaluate<number>('document.documentElement.scrollWidth')).toBeLessThanOrEqual(390);
    await picture(phone, 'rollout-phone-light');
  });

  it('asks before it pauses, resumes or aborts, and shows what was asked', async () => {
    begin();
    run(0, 5);
    const page = await open();
    await page.click('#rollouts [data-kind="abort"]');
    expect(await page.locator('#confirm').innerText()).toMatch(/Abort faces 2\.0\.0\?[\s\S]*This cannot be undone\./);
    await picture(page, 'rollout-confirm');
    await page.click('#confirm-cancel');
    expect(rollouts.nextRequest('faces-2')).toBeNull();
    await page.click('#rollouts [data-kind="pause"]');
    await page.click('#confirm-ok');
    await expect.poll(() => rollouts.nextRequest('faces-2')?.kind).toBe('pause');
    await expect.poll(() => page.locator('#rollouts').innerText()).toContain('pause was requested');
    const { request = 0 } = rollouts.nextRequest('faces-2') ?? {};
    rollouts.step('faces-2', { request, nowMs: Date.now() }, ({ spec, state }) => stepRollout(spec, state, { type: 'pause', by: 'the page', now_ms: Date.now() }));
    await page.waitForSelector('#rollouts [data-kind="resume"]');
    expect(await page.locator('#rollouts .pill').innerText()).toBe('paused');
  });
});
