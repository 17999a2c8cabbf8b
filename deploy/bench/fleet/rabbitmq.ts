/** RabbitMQ with its MQTT plugin, on loopback only, as one node or as a cluster. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../../demo/device-process.js';
import { DeployError } from '../../errors.js';
import { canConnect } from '../transfer/mosquitto.js';

const LIBRARY = '/usr/lib/rabbitmq/lib';
const START_TIMEOUT_MS = 90_000;

/** Debian's own `rabbitmq-server` changes the user; this one runs as whoever calls it. */
const server = (existsSync(LIBRARY) ? readdirSync(LIBRARY) : []).map((version) => join(LIBRARY, version, 'sbin/rabbitmq-server')).find((path) => existsSync(path));

export const rabbitmqMissing = (): boolean => server === undefined;

/** The names of nodes of one machine, by which they find each other (epmd), and the secret that they share. */
interface Neighbourhood {
  /** Has the secret. */
  home: string;
  epmdPort: number;
}

interface NodeOptions extends Neighbourhood {
  folder: string;
  name: string;
  /** Where it listens for MQTT, with or without TLS, as `config` says. */
  port: number;
  plugins: readonly string[];
  /** Lines of rabbitmq.conf. */
  config: readonly string[];
}

export interface RabbitmqNode {
  readonly port: number;
  readonly url: string;
  /** Of Erlang, whose CPU and memory are those of the broker. */
  pid(): number;
  /** At once, as a power cut does. */
  kill(): Promise<void>;
  stop(): Promise<void>;
}

/**
 * A single node.
 * @param port where `config` makes it listen for MQTT
 * @throws DeployError E_BENCH with the end of its output when it does not begin to listen
 */
export async function startRabbitmq({ folder, port, config, plugins }: Pick<NodeOptions, 'folder' | 'port' | 'config' | 'plugins'>): Promise<RabbitmqNode> {
  const epmdPort = await freePort();
  const node = await startNode({ folder, home: folder, epmdPort, name: `sterna-${port}@localhost`, port, plugins, config: ['listeners.tcp = none', 'mqtt.listeners.tcp = none', ...config] });
  return { ...node, stop: () => node.stop().finally(() => endNames(epmdPort)) };
}

export interface RabbitmqCluster {
  readonly nodes: readonly RabbitmqNode[];
  stop(): Promise<void>;
}

/**
 * Nodes that know each other, let everybody in, and keep the messages of a session on most of them (quorum queues), so that it outlives the loss of one.
 * @throws DeployError E_BENCH
 */
export async function startRabbitmqCluster(folder: string, count: number): Promise<RabbitmqCluster> {
  const epmdPort = await freePort();
  const ports: number[] = [];
  while (ports.length < count) ports.push(await freePort());
  const names = ports.map((port) => `sterna-${port}@localhost`);
  const peers = names.map((name, i) => `cluster_formation.classic_config.nodes.${i + 1} = ${name}`);
  const nodes: RabbitmqNode[] = [];
  const stop = async (): Promise<void> => {
    await Promise.all(nodes.map((node) => node.stop()));
    endNames(epmdPort);
  };
  try {
    for (const [i, port] of ports.entries()) { // one after another: the first makes the cluster that the others join
      const own = join(folder, `node-${i + 1}`);
      await mkdir(own, { recursive: true });
      const config = ['listeners.tcp = none', `mqtt.listeners.tcp.default = 127.0.0.1:${port}`, 'mqtt.allow_anonymous = true', 'mqtt.durable_queue_type = quorum', 'mqtt.prefetch = 2000', ...peers];
      nodes.push(await startNode({ folder: own, home: folder, epmdPort, name: names[i] ?? '', port, plugins: ['rabbitmq_mqtt'], config }));
    }
    return { nodes, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startNode({ folder, home, epmdPort, name, port, plugins, config }: NodeOptions): Promise<RabbitmqNode> {
  const file = join(folder, 'rabbitmq.conf');
  const enabled = join(folder, 'enabled_plugins');
  await Promise.all([writeFile(file, [...config, ''].join('\n')), writeFile(enabled, `[${plugins.join(', ')}].\n`)]);
  const env = {
    PATH: process.env['PATH'], HOME: home, LANG: 'C.UTF-8', RABBITMQ_NODENAME: name, RABBITMQ_DIST_PORT: String(await freePort()), RABBITMQ_CONFIG_FILE: file,
    RABBITMQ_ENABLED_PLUGINS_FILE: enabled, RABBITMQ_MNESIA_BASE: join(folder, 'mnesia'), RABBITMQ_LOG_BASE: folder, RABBITMQ_LOGS: '-', RABBITMQ_PID_FILE: join(folder, 'pid'),
    RABBITMQ_CONF_ENV_FILE: join(folder, 'none'), RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}', ERL_EPMD_ADDRESS: '127.0.0.1', ERL_EPMD_PORT: String(epmdPort),
  };
  const child = spawn(server ?? 'rabbitmq-server', { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  let [over, said] = [false, ''];
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text: Buffer) => { said = (said + text.toString()).slice(-4000); });
  const exited = new Promise<void>((resolve) => {
    const end = (): void => { over = true; resolve(); };
    child.once('close', end).once('error', end);
  });
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (!over && child.pid !== undefined) process.kill(-child.pid, signal); // its shell and Erlang are one group
    await exited;
  };
  for (const deadline = Date.now() + START_TIMEOUT_MS; !(await canConnect(port)); await sleep(200)) {
    if (!over && Date.now() < deadline) continue;
    await end('SIGKILL');
    throw new DeployError('E_BENCH', `RabbitMQ does not listen on 127.0.0.1:${port}:\n${said}`);
  }
  return { port, url: `mqtt://127.0.0.1:${port}`, pid: () => erlangOf(child), kill: () => end('SIGKILL'), stop: () => end('SIGTERM') };
}

/** Scripts start Erlang as their child. */
function erlangOf({ pid = 0 }: ChildProcess): number {
  const { stdout } = spawnSync('pgrep', ['-g', String(pid), 'beam'], { encoding: 'utf8' });
  return Number(stdout.split('\n')[0] ?? pid);
}

function endNames(epmdPort: number): void {
  spawnSync('epmd', ['-port', String(epmdPort), '-kill']);
}
