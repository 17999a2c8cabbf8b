/** The device of the demonstration signs its reports, although its broker has no TLS. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { parseConfig, startAgent } from '../../agent/main.js';
import { Collector } from '../../deploy/collector/collector.js';
import { CollectorStore } from '../../deploy/collector/store.js';
import { DemoTrust } from '../../deploy/demo/trust.js';
import { ReportGuard } from '../../deploy/repository/report-guard.js';
import { aedesBroker } from '../agent/support/brokers.js';
import { quietLog, temporaryFolder, until } from '../agent/support/tools.js';

it('the demonstration verifies what its device reports, also after a restart', async () => {
  const folder = temporaryFolder();
  const { url } = await aedesBroker();
  const address = { fleet: 'demo', device: 'door' };
  for (let run = 0; run < 2; run++) {
    const trust = new DemoTrust(folder);
    const store = new CollectorStore(join(folder, 'collector.db'));
    const collector = new Collector({ url, fleet: 'demo', guard: new ReportGuard({ keys: trust }) }, store);
    const files = await trust.provision(join(folder, 'device', 'trust'));
    await collector.start();
    expect(statSync(files.report_key).mode & 0o077).toBe(0);
    const agent = await startAgent(parseConfig({ device_id: 'door', fleet: 'demo', state_dir: join(folder, 'state'), broker: { url }, api: { port: 0 }, trust: files }), { log: quietLog, env: {} });
    onTestFinished(async () => { await agent.stop(); await collector.stop(); });
    await until('a verified report of this run', () => { const { boot_id: boot, signature } = store.device(address)?.reported ?? {}; return boot === agent.bootId && signature !== undefined; });
    expect(collector.guard.refused(address)).toBeNull();
    await agent.stop();
    await collector.stop();
    store.close();
  }
});
