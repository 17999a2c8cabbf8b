import { join } from 'node:path';
import type { MqttClient } from 'mqtt';
import { randomClientId, type CommandStatement } from '../../agent/contracts/index.js';
import { connectLink, type LinkOptions } from '../mqtt/link.js';
import { sendCommand } from '../publish/command.js';
import type { Publisher } from '../publish/publisher.js';
import type { Director } from '../repository/director.js';
import { RolloutRunner, type RolloutRunnerOptions } from './runner.js';
import { RolloutStore } from './store.js';

/** The database of the folder that the server of a fleet and its commands share. */
export const rolloutFile = (folder: string): string => join(folder, 'rollouts.sqlite');

export interface RolloutServerOptions {
  folder: string;
  fleet: string;
  publisher: Publisher;
  /** Null: unsigned, for devices in the unsigned mode of development. */
  director: Director | null;
  link: Omit<LinkOptions, 'clientId'>;
  /** One line for each thing that happens. */
  line: (text: string) => void;
  tickMs?: number;
}

/** How long a device has to run its previous package. */
const COMMAND_MS = 60_000;

/** The store of a folder and the runner of a fleet. @throws DeployError E_ROLLOUT */
export function openRollouts({ folder, fleet, publisher, director, link, line, tickMs }: RolloutServerOptions): { runner: RolloutRunner; store: RolloutStore; stop: () => Promise<void> } {
  const store = new RolloutStore(rolloutFile(folder));
  const commands = new CommandLink(link, fleet, director);
  const runner = new RolloutRunner({
    store, publisher, fleet, sendBack: (target) => commands.sendBack(target), ...(tickMs === undefined ? {} : { tickMs }),
    onNote: ({ id }, { text }) => line(`sterna: roll-out ${id}: ${text}`),
    onError: (error) => line(`sterna: a step of a roll-out failed and is tried again: ${error instanceof Error ? error.message : String(error)}`),
  });
  return { runner, store, stop: async () => { await runner.stop(); await commands.stop(); store.close(); } };
}

/** A connection for commands, made when the first one is needed. */
class CommandLink {
  readonly #link: Omit<LinkOptions, 'clientId'>;
  readonly #fleet: string;
  readonly #director: Director | null;
  #client: Promise<MqttClient> | null = null;

  constructor(link: Omit<LinkOptions, 'clientId'>, fleet: string, director: Director | null) {
    this.#link = link;
    this.#fleet = fleet;
    this.#director = director;
  }

  /** @throws DeployError E_BROKER_CONNECT, E_DEVICE_OFFLINE, E_DEVICE_TIMEOUT, E_DEVICE_COMMAND */
  async sendBack({ device, pipeline, status, from }: Parameters<RolloutRunnerOptions['sendBack']>[0]): Promise<void> {
    this.#client ??= connectLink({ ...this.#link, clientId: randomClientId('sterna-rollout') });
    const client = await this.#client.catch((error: unknown) => {
      this.#client = null;
      throw error;
    });
    client.setMaxListeners(0); // each command that waits for its answer has one
    const director = this.#director;
    await sendCommand(client, {
      address: { fleet: this.#fleet, device }, name: 'rollback', pipeline, args: { from }, timeoutMs: COMMAND_MS, status,
      ...(director === null ? {} : { signer: (statement: CommandStatement) => director.command(statement) }),
    });
  }

  async stop(): Promise<void> {
    const client = await this.#client?.catch(() => null);
    this.#client = null;
    await client?.endAsync(true);
  }
}
