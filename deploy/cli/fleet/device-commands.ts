import type { Command } from 'commander';
import { randomClientId, type CommandName, type CommandStatement, type Response } from '../../../agent/contracts/index.js';
import { connectLink } from '../../mqtt/link.js';
import { sendCommand } from '../../publish/command.js';
import { desiredOf } from '../../publish/packages.js';
import { chosenPipeline } from '../../publish/pipeline.js';
import { Publisher } from '../../publish/publisher.js';
import { wantedDevices } from '../../publish/wanted.js';
import type { Director } from '../../repository/director.js';
import { addBrokerOptions, brokerLink, type BrokerOptions } from '../broker-options.js';
import { interruptible } from '../interrupt.js';
import { integer } from '../options.js';
import { reporting, type Report } from '../output.js';
import { reportGuard } from '../report-options.js';
import { addSigningOptions, directorOf, type SigningOptions } from '../signing-options.js';

interface DeviceOptions extends BrokerOptions, SigningOptions { fleet: string; timeout: number; lines?: number; pipeline?: string }
type Result = NonNullable<Response['result']>;

interface DeviceCommand {
  word: string;
  name: CommandName;
  summary: string;
  description: string;
  timeoutS: number;
  /** It concerns one pipeline. */
  ofPipeline: boolean;
  text: (device: string, result: Result) => string;
}

const textOf = (value: unknown): string => (typeof value === 'string' || typeof value === 'number' ? String(value) : '-');

function figures(device: string, result: Result): string {
  const { name, version, p50_ms: p50, p99_ms: p99, golden, golden_failed: failed } = result;
  const round = (value: unknown): string => (typeof value === 'number' ? value.toFixed(2) : '-');
  return `${device}: ${textOf(name)} ${textOf(version)}: p50 ${round(p50)} ms, p99 ${round(p99)} ms, ${textOf(golden)} golden vectors, ${textOf(failed)} failed`;
}

const COMMANDS: readonly DeviceCommand[] = [
  {
    word: 'rollback', name: 'rollback', ofPipeline: true, summary: 'back to the previous package', timeoutS: 60,
    description: 'Makes a device run the previous package again. It stays there until another package is published.',
    text: (device, { active }) => {
      const slot = (active ?? {}) as { name?: unknown; version?: unknown };
      return `${device}: runs ${textOf(slot.name)} ${textOf(slot.version)}`;
    },
  },
  {
    word: 'self-test', name: 'self-test', ofPipeline: true, summary: 'golden vectors and budgets of the running package', timeoutS: 120,
    description: 'Runs the golden vectors of the running package between two frames. Checks results, latency and memory against its budgets. Exits with 1 if the device fails the test.',
    text: figures,
  },
  { word: 'bench', name: 'bench', ofPipeline: true, summary: 'measure the latency of the running package', timeoutS: 120, description: 'Measures the latency of the running package between two frames, without checking any budget.', text: figures },
  {
    word: 'log', name: 'log-tail', ofPipeline: false, summary: 'print the newest lines of its log', timeoutS: 20, description: 'Prints the newest lines of the log of a device, at most 32 KiB.',
    text: (_device, { lines }) => (Array.isArray(lines) ? lines.map(textOf).join('\n') : ''),
  },
  {
    word: 'rebirth', name: 'rebirth', ofPipeline: false, summary: 'make it report everything again', timeoutS: 20, description: 'Makes a device publish its birth message, its capabilities and its report again.',
    text: (device) => `${device}: reported again`,
  },
];

/** `sterna fleet rollback|self-test|bench|log|rebirth|reset-generation DEVICE`. */
export function registerDeviceCommands(fleet: Command): void {
  for (const command of COMMANDS) {
    const built = deviceCommand(fleet, command.word, command).option('--timeout <seconds>', 'how long to wait for the answer', integer(1), command.timeoutS);
    if (command.ofPipeline) addPipelineOption(built);
    if (command.word === 'log') built.option('--lines <n>', 'how many lines, 200 at most', integer(1), 50);
    built.action(reporting((self: Command, device: string, options: DeviceOptions) => run(self, command, { device, options })));
  }
  addPipelineOption(deviceCommand(fleet, 'reset-generation', {
    summary: 'state again what it runs, with the next generation that it accepts',
    description: 'Replaces the `desired` that the broker retains for a device. The new one states the package and settings that the device has, with the next generation that it accepts. Use it after somebody published an absurd generation. The device need not be connected.',
  })).action(reporting((self: Command, device: string, options: DeviceOptions) => resetGeneration(self, device, options)));
}

function deviceCommand(fleet: Command, word: string, { summary, description }: { summary: string; description: string }): Command {
  return addSigningOptions(addBrokerOptions(fleet.command(word).summary(summary).description(description).argument('<device>', 'its name').requiredOption('--fleet <name>', 'its fleet')));
}

/** Runs `work` with a publisher that knows the device. @throws DeployError E_DEVICE_UNKNOWN */
async function withDevice<T>(self: Command, { device, options }: { device: string; options: DeviceOptions }, work: (publisher: Publisher, signal: AbortSignal, director: Director | null) => Promise<T>): Promise<T> {
  const director = directorOf(options);
  const publisher = new Publisher({ ...brokerLink(options), fleet: options.fleet, guard: reportGuard(self, options), ...(director === null ? {} : { signer: director }) });
  return interruptible('Interrupted before the device answered', async (signal) => {
    await publisher.start();
    try {
      await wantedDevices(publisher, { fleet: options.fleet, names: [device], signal });
      return await work(publisher, signal, director);
    } finally {
      await publisher.stop();
    }
  });
}

function addPipelineOption(command: Command): Command {
  return command.option('--pipeline <name>', 'one of its pipelines; default: its only one, or main');
}

async function run(self: Command, command: DeviceCommand, { device, options }: { device: string; options: DeviceOptions }): Promise<Report> {
  return withDevice(self, { device, options }, async (publisher, signal, director) => {
    const pipeline = command.ofPipeline ? { pipeline: chosenPipeline(device, publisher.pipelines(device), options.pipeline) } : {};
    const client = await connectLink({ ...brokerLink(options), clientId: randomClientId('sterna-command') });
    try {
      const { result = {} } = await sendCommand(client, {
        address: { fleet: options.fleet, device }, name: command.name, timeoutMs: options.timeout * 1000, signal, status: publisher.known(device).status, ...pipeline,
        ...(director === null ? {} : { signer: (statement: CommandStatement) => director.command(statement) }),
        ...(options.lines === undefined ? {} : { args: { lines: Math.min(200, options.lines) } }),
      });
      return { json: { fleet: options.fleet, device, ...pipeline, command: command.name, result }, text: command.text(device, result) };
    } finally {
      await client.endAsync();
    }
  });
}

async function resetGeneration(self: Command, device: string, options: DeviceOptions): Promise<Report> {
  return withDevice(self, { device, options }, async (publisher) => {
    const pipeline = chosenPipeline(device, publisher.pipelines(device), options.pipeline);
    const active = publisher.reported(device, pipeline)?.slots.active ?? null;
    const before = publisher.reported(device, pipeline)?.generation_seen ?? null;
    const generation = await publisher.state(device, active === null ? null : desiredOf(active), { pipeline });
    return {
      json: { fleet: options.fleet, device, pipeline, generation, generation_seen: before, package: active },
      text: `${device}: asked to keep ${active === null ? 'what it has' : `${active.name} ${active.version}`} (generation ${generation}; before: ${before ?? 'none'})`,
    };
  });
}
