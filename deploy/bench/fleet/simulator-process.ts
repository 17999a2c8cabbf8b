import { fork, type ChildProcess } from 'node:child_process';
import { DeployError } from '../../errors.js';
import { builtScript } from '../built-script.js';
import type { SimulatedFleetOptions } from './simulated-fleet.js';
import type { SimulatorAnswer, SimulatorRequest } from './simulator-child.js';

/** Devices of a process; one process has time for some thousands of connections. */
export const DEVICES_PER_PROCESS = 5000;

/** Simulated devices in processes of their own, which end with this one. */
export class Simulators {
  readonly #children: readonly ChildProcess[];
  readonly #counts: readonly number[];

  private constructor(children: readonly ChildProcess[], counts: readonly number[]) {
    this.#children = children;
    this.#counts = counts;
  }

  static start({ spreadMs, ...fleet }: Omit<SimulatedFleetOptions, 'first' | 'seed'> & { spreadMs: number }): Simulators {
    const { devices } = fleet;
    const counts = Array.from({ length: Math.ceil(devices / DEVICES_PER_PROCESS) }, (_, i) => Math.min(DEVICES_PER_PROCESS, devices - i * DEVICES_PER_PROCESS));
    const simulators = new Simulators(counts.map(() => fork(builtScript('deploy/bench/fleet/simulator-child.js'), { execArgv: [], stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })), counts);
    counts.forEach((count, i) => simulators.#send(i, { type: 'start', options: { ...fleet, devices: count, first: i * DEVICES_PER_PROCESS, seed: i + 1 }, spreadMs }));
    return simulators;
  }

  storm(spreadMs: number): void {
    this.#sendAll({ type: 'storm', spreadMs });
  }

  /** @param perMinute devices of the whole fleet that lose their connection */
  churn(perMinute: number): void {
    this.#sendAll({ type: 'churn', perMinute: perMinute / this.#counts.length });
  }

  quiet(): void {
    this.#sendAll({ type: 'quiet' });
  }

  /** Sums over all processes. @throws DeployError E_BENCH when one has ended */
  async state(): Promise<SimulatorAnswer> {
    const [first, ...others] = await Promise.all(this.#children.map(ask));
    if (first === undefined) throw new DeployError('E_BENCH', 'There are no simulated devices');
    return others.reduce((sum, state) => ({
      connected: sum.connected + state.connected, connects: sum.connects + state.connects, made: sum.made + state.made, acknowledged: sum.acknowledged + state.acknowledged,
      bytesSent: sum.bytesSent + state.bytesSent, bytesReceived: sum.bytesReceived + state.bytesReceived, windowBytes: sum.windowBytes + state.windowBytes, windowsSent: sum.windowsSent + state.windowsSent, updated: sum.updated + state.updated,
      unacknowledged: sum.unacknowledged + state.unacknowledged, uses: sum.uses.map((n, i) => n + (state.uses[i] ?? 0)), cpuSeconds: sum.cpuSeconds + state.cpuSeconds, rssBytes: sum.rssBytes + state.rssBytes,
    }), first);
  }

  close(): void {
    for (const child of this.#children) if (child.connected) child.disconnect();
  }

  #sendAll(request: SimulatorRequest): void {
    this.#children.forEach((_, i) => this.#send(i, request));
  }

  #send(i: number, request: SimulatorRequest): void {
    this.#children[i]?.send(request);
  }
}

function ask(child: ChildProcess): Promise<SimulatorAnswer> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null): void => reject(new DeployError('E_BENCH', `A process of simulated devices ended with code ${code ?? 'none'}`));
    child.once('exit', onExit);
    child.once('message', (message) => {
      child.off('exit', onExit);
      resolve(message as SimulatorAnswer);
    });
    child.send({ type: 'state' } satisfies SimulatorRequest);
  });
}
