import { spawn, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { EmbeddedBroker } from '../../../deploy/broker/broker.js';
import { temporaryFolder, until } from './tools.js';

export interface TestBroker {
  readonly port: number;
  readonly url: string;
  /** Hangs up on everybody. */
  dropAll(): void;
  stop(): Promise<void>;
}

/** The embedded broker: aedes, MQTT 3.1.1 only. */
export async function aedesBroker(port = 0): Promise<TestBroker> {
  const broker = new EmbeddedBroker({ port });
  await broker.start();
  const { port: bound, url } = broker;
  const stop = (): Promise<void> => broker.stop();
  onTestFinished(stop);
  return { port: bound, url, dropAll: () => broker.dropConnections(), stop };
}

export const mosquittoMissing = spawnSync('mosquitto', ['-h']).error !== undefined;

/** A real Mosquitto on a loopback port, any free one by default. */
export async function mosquittoBroker(extra: readonly string[] = [], wantedPort = 0): Promise<TestBroker> {
  const port = wantedPort === 0 ? await freePort() : wantedPort;
  const config = join(temporaryFolder(), 'mosquitto.conf');
  writeFileSync(config, [`listener ${port} 127.0.0.1`, ...(extra.length === 0 ? ['allow_anonymous true'] : extra), ''].join('\n'));
  const child = spawn('mosquitto', ['-c', config], { stdio: 'ignore' });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    await exited;
  };
  onTestFinished(stop);
  await until('mosquitto listens', () => canConnect(port));
  return { port, url: `mqtt://127.0.0.1:${port}`, dropAll: () => { throw new Error('mosquitto cannot do that'); }, stop };
}

/** Counts and cuts the connections that pass through it. */
export async function proxy(targetPort: number): Promise<TestBroker> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((inside) => {
    const outside = connect(targetPort, '127.0.0.1');
    for (const socket of [inside, outside]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.once('close', () => { sockets.delete(socket); inside.destroy(); outside.destroy(); });
    }
    inside.pipe(outside).pipe(inside);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const dropAll = (): void => { for (const socket of sockets) socket.destroy(); };
  const stop = async (): Promise<void> => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    dropAll();
    await closed;
  };
  onTestFinished(stop);
  return { port, url: `mqtt://127.0.0.1:${port}`, dropAll, stop };
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return port;
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true); });
    socket.once('error', () => resolve(false));
  });
}
