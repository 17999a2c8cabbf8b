/** A real RabbitMQ with its MQTT plugin, on loopback only, which knows its clients by their certificates. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { onTestFinished } from 'vitest';
import { canConnect } from '../../../deploy/bench/transfer/mosquitto.js';
import { freePort } from '../../../deploy/demo/device-process.js';
import { temporaryFolder } from './tools.js';

const LIBRARY = '/usr/lib/rabbitmq/lib';
const START_TIMEOUT_MS = 90_000;

/** Debian's own `rabbitmq-server` changes the user; this one runs as whoever calls it. */
const server = (existsSync(LIBRARY) ? readdirSync(LIBRARY) : []).map((version) => join(LIBRARY, version, 'sbin/rabbitmq-server')).find((path) => existsSync(path));

export const rabbitmqMissing = server === undefined;

export interface RabbitmqFiles { ca: string; cert: string; key: string; definitions: string }

/** @throws Error with the end of its output when it does not begin to listen */
export async function rabbitmqBroker(port: number, { ca, cert, key, definitions }: RabbitmqFiles): Promise<void> {
  const folder = temporaryFolder();
  const config = join(folder, 'rabbitmq.conf');
  const plugins = join(folder, 'enabled_plugins');
  // As deploy/README.md says; the listeners are on loopback here.
  writeFileSync(config, [
    'listeners.tcp = none', 'mqtt.listeners.tcp = none', `mqtt.listeners.ssl.default = 127.0.0.1:${port}`, 'mqtt.allow_anonymous = false', 'mqtt.ssl_cert_login = true',
    'ssl_cert_login_from = common_name', `ssl_options.cacertfile = ${ca}`, `ssl_options.certfile = ${cert}`, `ssl_options.keyfile = ${key}`,
    'ssl_options.verify = verify_peer', 'ssl_options.fail_if_no_peer_cert = true', `load_definitions = ${definitions}`, '',
  ].join('\n'));
  writeFileSync(plugins, '[rabbitmq_mqtt, rabbitmq_auth_mechanism_ssl].\n');
  const epmdPort = await freePort();
  const env = {
    PATH: process.env['PATH'], HOME: folder, LANG: 'C.UTF-8', RABBITMQ_NODENAME: `sterna-${port}@localhost`, RABBITMQ_DIST_PORT: String(await freePort()), RABBITMQ_CONFIG_FILE: config,
    RABBITMQ_ENABLED_PLUGINS_FILE: plugins, RABBITMQ_MNESIA_BASE: join(folder, 'mnesia'), RABBITMQ_LOG_BASE: folder, RABBITMQ_LOGS: '-', RABBITMQ_PID_FILE: join(folder, 'pid'),
    RABBITMQ_CONF_ENV_FILE: join(folder, 'none'), RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}', ERL_EPMD_ADDRESS: '127.0.0.1', ERL_EPMD_PORT: String(epmdPort),
  };
  const child = spawn(server ?? 'rabbitmq-server', { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  let [over, said] = [false, ''];
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text: Buffer) => { said = (said + text.toString()).slice(-4000); });
  const exited = new Promise<void>((resolve) => child.once('close', () => { over = true; resolve(); }));
  onTestFinished(async () => {
    if (!over) process.kill(-(child.pid ?? 0), 'SIGTERM'); // its shell and Erlang are one group
    await exited;
    spawnSync('epmd', ['-port', String(epmdPort), '-kill']);
  });
  for (const deadline = Date.now() + START_TIMEOUT_MS; !(await canConnect(port)); await sleep(200)) {
    if (over || Date.now() > deadline) throw new Error(`RabbitMQ does not listen on 127.0.0.1:${port}:\n${said}`);
  }
}
