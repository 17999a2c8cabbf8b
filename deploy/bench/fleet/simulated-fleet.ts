import { uniform } from '../../compress/random.js';
import { makeBodies, type Body } from './payloads.js';
import { SimulatedDevice, type SimulatedCounts } from './simulated-device.js';

export interface SimulatedFleetOptions {
  /** Of the broker's nodes, on loopback; devices divide themselves among them. */
  ports: readonly number[];
  /** Default: MQTT 5. */
  protocolVersion?: 4 | 5;
  devices: number;
  /** Number of the first device. */
  first?: number;
  intervalMs: number;
  seed?: number;
  /** Whether devices take updates; default false. */
  updates?: boolean;
}

export const FLEET = 'bench';
const TICK_MS = 100;
/** Of a device that lost its connection by itself. */
const RECONNECT_MS = 5000;

export interface FleetState extends SimulatedCounts {
  unacknowledged: number;
  uses: readonly number[];
}

/** Many devices in one process, on one timer. Their intervals are spread evenly. */
export class SimulatedFleet {
  readonly bodies: readonly Body[] = makeBodies();
  readonly #options: SimulatedFleetOptions;
  readonly #devices: readonly SimulatedDevice[];
  readonly #uses: number[] = [];
  readonly #counts: SimulatedCounts = { connected: 0, connects: 0, made: 0, acknowledged: 0, bytesSent: 0, bytesReceived: 0, windowBytes: 0, windowsSent: 0, updated: 0 };
  readonly #random: () => number;
  /** When a device connects; those that are connected have none. */
  readonly #connectAt = new Map<SimulatedDevice, number>();
  #timer: NodeJS.Timeout | undefined;
  #making = false;
  #place = 0;
  #startMs = 0;
  #churnPerTick = 0;

  constructor(options: SimulatedFleetOptions) {
    this.#options = options;
    this.#random = uniform(options.seed ?? 1);
    const { first = 0, devices, ports, protocolVersion = 5 } = options;
    const parts = { ports, protocolVersion, bodies: this.bodies, uses: this.#uses, counts: this.#counts, updates: options.updates === true };
    const run = Date.now().toString(36);
    this.#devices = Array.from({ length: devices }, (_, i) => new SimulatedDevice(parts, { fleet: FLEET, device: `d-${String(first + i).padStart(6, '0')}` }, { stream: `boot-${first + i}-${run}`, node: i }));
  }

  /** All devices connect within `spreadMs`, and make windows from now on. */
  start(spreadMs: number): void {
    this.#startMs = Date.now();
    this.#making = true;
    for (const device of this.#devices) this.#connectAt.set(device, this.#startMs + this.#random() * spreadMs);
    this.#timer = setInterval(() => this.#tick(Date.now()), TICK_MS);
  }

  /** Every connection ends now, and comes back within `spreadMs`. */
  storm(spreadMs: number): void {
    for (const device of this.#devices) this.#away(device, this.#random() * spreadMs);
  }

  /** From now on so many devices a minute lose their connection. */
  churn(perMinute: number): void {
    this.#churnPerTick = (perMinute * TICK_MS) / 60_000;
  }

  /** No window is made any more; what waits is still sent. */
  quiet(): void {
    this.#making = false;
    this.#churnPerTick = 0;
  }

  state(): FleetState {
    return { ...this.#counts, uses: [...this.#uses], unacknowledged: this.#devices.reduce((sum, device) => sum + device.unacknowledged, 0) };
  }

  close(): void {
    clearInterval(this.#timer);
    this.#connectAt.clear();
    for (const device of this.#devices) device.cut();
  }

  #away(device: SimulatedDevice, forMs: number): void {
    device.cut();
    this.#connectAt.set(device, Date.now() + forMs);
  }

  #tick(nowMs: number): void {
    for (const [device, atMs] of this.#connectAt) {
      if (atMs > nowMs) continue;
      this.#connectAt.delete(device);
      device.connect();
    }
    this.#lose();
    const due = Math.floor(((nowMs - this.#startMs) / this.#options.intervalMs) * this.#devices.length);
    for (; this.#place < due; this.#place++) {
      const device = this.#devices[this.#place % this.#devices.length];
      if (this.#making) device?.tick(nowMs);
      if (device?.away === true && !this.#connectAt.has(device)) this.#away(device, RECONNECT_MS);
    }
    for (const device of this.#devices) {
      if (device.behind) device.catchUp();
      device.poll(nowMs);
    }
  }

  #lose(): void {
    const whole = Math.floor(this.#churnPerTick);
    for (let n = whole + (this.#random() < this.#churnPerTick - whole ? 1 : 0); n > 0; n--) {
      const device = this.#devices[Math.floor(this.#random() * this.#devices.length)];
      if (device?.connected === true) this.#away(device, RECONNECT_MS);
    }
  }
}
