/** The process of `SimulatorProcess`: does what its parent asks, and ends with it. */
import { SimulatedFleet, type SimulatedFleetOptions, type FleetState } from './simulated-fleet.js';

export type SimulatorRequest =
  | { type: 'start'; options: SimulatedFleetOptions; spreadMs: number }
  | { type: 'storm'; spreadMs: number }
  | { type: 'churn'; perMinute: number }
  | { type: 'quiet' }
  | { type: 'state' };
export type SimulatorAnswer = FleetState & { cpuSeconds: number; rssBytes: number };

let fleet: SimulatedFleet | undefined;

function take(request: SimulatorRequest): void {
  switch (request.type) {
    case 'start':
      fleet = new SimulatedFleet(request.options);
      return fleet.start(request.spreadMs);
    case 'storm': return fleet?.storm(request.spreadMs);
    case 'churn': return fleet?.churn(request.perMinute);
    case 'quiet': return fleet?.quiet();
    case 'state': {
      const { user, system } = process.cpuUsage();
      if (fleet !== undefined) process.send?.({ ...fleet.state(), cpuSeconds: (user + system) / 1e6, rssBytes: process.memoryUsage().rss } satisfies SimulatorAnswer);
    }
  }
}

process.on('message', take);
process.on('disconnect', () => process.exit(0));
