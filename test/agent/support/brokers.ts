import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';
import { EmbeddedBroker } from '../../../deploy/broker/broker.js';
import { mosquittoMissing as isMosquittoMissing, startMosquitto } from '../../../deploy/bench/transfer/mosquitto.js';
import { freePort } from '../../../deploy/demo/device-process.js';
import { temporaryFolder } from './tools.js';

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

export const mosquittoMissing = isMosquittoMissing();
export { freePort };

/** A real Mosquitto on a loopback port, any free one by default. */
export async function mosquittoBroker(extra: readonly string[] = [], wantedPort = 0): Promise<TestBroker> {
  const { port, url, stop } = await startMosquitto(temporaryFolder(), extra, wantedPort);
  onTestFinished(stop);
  return { port, url, dropAll: () => { throw new Error('mosquitto cannot do that'); }, stop };
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
