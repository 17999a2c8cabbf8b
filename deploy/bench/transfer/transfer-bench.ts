/** What the sections of the bench share: a broker, a publisher, and daemons in processes of their own. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EmbeddedBroker } from '../../broker/broker.js';
import { DeviceProcess } from '../../demo/device-process.js';
import { wantedDevices } from '../../publish/wanted.js';
import { Publisher, type PublisherOptions } from '../../publish/publisher.js';
import { mosquittoMissing, startMosquitto } from './mosquitto.js';

const FLEET = 'bench';

export interface BenchDevice {
  name: string;
  process: DeviceProcess;
}

export interface TransferBench {
  /** Mosquitto, or the embedded broker where it is not installed. */
  broker: 'Mosquitto' | 'the embedded broker';
  brokerPort: number;
  brokerUrl: string;
  publisher: Publisher;
  /** Is deleted with everything in it when the bench is closed. */
  folder: string;
  /** Of a device without a camera, in the unsigned mode; `ota` is that part of its configuration. */
  deviceConfig(name: string, brokerUrl: string, ota?: Readonly<Record<string, unknown>>): Record<string, unknown>;
  /** Starts such a device in a process of its own. */
  startDevice(name: string, brokerUrl: string, ota?: Readonly<Record<string, unknown>>): Promise<BenchDevice>;
  /** Resolves when the device has reported. */
  known(device: string): Promise<void>;
  close(): Promise<void>;
}

export async function openBench(signal: AbortSignal, rates: Pick<PublisherOptions, 'blocksPerSecond'> = {}): Promise<TransferBench> {
  const folder = await mkdtemp(join(tmpdir(), 'sterna-transfer-'));
  const broker = mosquittoMissing() ? await embedded() : await startMosquitto(folder);
  const publisher = new Publisher({ url: broker.url, fleet: FLEET, ...rates });
  const devices: DeviceProcess[] = [];
  await publisher.start();
  const deviceConfig: TransferBench['deviceConfig'] = (name, brokerUrl, ota = {}) => ({ device_id: name, fleet: FLEET, broker: { url: brokerUrl }, trust: { unsigned: true }, ota });
  return {
    folder, deviceConfig,
    broker: broker instanceof EmbeddedBroker ? 'the embedded broker' : 'Mosquitto', brokerPort: broker.port, brokerUrl: broker.url, publisher,
    startDevice: async (name, brokerUrl, ota = {}) => {
      const device = new DeviceProcess({ folder: join(folder, name), config: deviceConfig(name, brokerUrl, ota), signal });
      devices.push(device);
      await device.start();
      return { name, process: device };
    },
    known: async (device) => void await wantedDevices(publisher, { fleet: FLEET, names: [device], signal }),
    close: async () => {
      await publisher.stop();
      await Promise.all(devices.map((device) => device.stop()));
      await broker.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function embedded(): Promise<EmbeddedBroker> {
  const broker = new EmbeddedBroker();
  await broker.start();
  return broker;
}
