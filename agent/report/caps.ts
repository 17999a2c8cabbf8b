import { cpus, machine, release, totalmem, type } from 'node:os';
import { DEFAULT_BLOCK_BYTES, MAX_WINDOW, commandNames, SCHEMA_VERSION, type Caps } from '../contracts/index.js';
import type { Log } from '../platform/log.js';

type Compute = Caps['compute'];
type Inventory = Pick<Caps['machine'], 'model' | 'cpu'>;

export interface CapsParts {
  bootId: string;
  version: string;
  labels: Record<string, string>;
  energy: Caps['energy'];
  thermalZones: string[];
  sensorsInvalid: { sensor: string; reason: string }[];
  limits: { packageBytes: number; outboxBytes: number };
  compute: Compute;
  inventory: Inventory;
  timeMs: number;
  clockSynchronized: boolean;
}

export function buildCaps(parts: CapsParts): Caps {
  return {
    schema_version: SCHEMA_VERSION,
    boot_id: parts.bootId,
    time_ms: parts.timeMs,
    clock_synchronized: parts.clockSynchronized,
    version: parts.version,
    ...(Object.keys(parts.labels).length > 0 ? { labels: parts.labels } : {}),
    machine: {
      arch: machine(), os: type(), kernel: release(), model: parts.inventory.model, cpu: parts.inventory.cpu,
      cores: cpus().length, memory_bytes: totalmem(),
    },
    compute: parts.compute,
    slots: 2,
    energy: parts.energy.slice(0, 32),
    thermal_zones: parts.thermalZones.slice(0, 64),
    ...(parts.sensorsInvalid.length > 0 ? { sensors_invalid: parts.sensorsInvalid.slice(0, 64) } : {}),
    commands: [...commandNames],
    limits: { package_bytes: parts.limits.packageBytes, block_bytes: DEFAULT_BLOCK_BYTES, window: MAX_WINDOW, outbox_bytes: parts.limits.outboxBytes },
  };
}

/** What the kernels see of this CPU; null when the native addon is not there. */
export async function describeCompute(log: Log): Promise<Compute> {
  try {
    const { describeCpu } = await import('../../kernels/binding/index.js');
    const { selected, isas, features } = describeCpu();
    return { isa: selected, isas, features };
  } catch (error) {
    log.warn('the native kernels are not available', { error: String(error) });
    return null;
  }
}

/** Reads the static inventory of the machine. The library systeminformation is loaded only for this. */
export async function readInventory(log: Log): Promise<Inventory> {
  const fallback: Inventory = { model: '', cpu: cpus()[0]?.model ?? '' };
  try {
    const { default: si } = await import('systeminformation');
    const [system, cpu] = await Promise.all([si.system(), si.cpu()]);
    const model = [system.manufacturer, system.model].filter((part) => part !== '').join(' ');
    return { model: model.slice(0, 256), cpu: `${cpu.manufacturer} ${cpu.brand}`.trim().slice(0, 256) || fallback.cpu };
  } catch (error) {
    log.warn('no hardware inventory', { error: String(error) });
    return fallback;
  }
}
