import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { KernelError } from './errors.js';

/** Which cores a program runs on: any, or those of one kind where a CPU has fast and slow ones (big.LITTLE, P- and E-cores). */
export const affinities = ['any', 'big', 'little'] as const;
export type Affinity = (typeof affinities)[number];

/** A core that this process may use. */
export interface Core {
  readonly cpu: number;
  /** How fast it is compared with the others of the machine; null where the system does not say. */
  readonly capacity: number | null;
}

export interface CoreChoice {
  /** The cores to stay on; null: any. */
  readonly cpus: readonly number[] | null;
  /** Human-readable: what was chosen, or why the choice changes nothing. */
  readonly reason: string;
}

/** A core is little when its capacity is within this factor of the slowest one's: cores of one design differ by their clocks alone. */
const sameKind = 1.25;

/** "0-2,5" as [0, 1, 2, 5]: the kernel's list format (Documentation/core-api/cpu_hotplug, bitmap lists). */
function parseCpuList(text: string): number[] {
  return text.split(',').filter((range) => /^\d+(-\d+)?$/.test(range)).flatMap((range) => {
    const [first = 0, last = first] = range.split('-').map(Number);
    return Array.from({ length: Math.max(last - first + 1, 0) }, (_, i) => first + i);
  });
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}

function readNumber(path: string): number | null {
  const value = Number.parseInt(readText(path) ?? '', 10);
  return value > 0 ? value : null;
}

/**
 * The cores that this process may use, by number, with their speeds: `cpu_capacity`, which Arm kernels and recent x86 ones have, or
 * the highest clock, if one of them is known of every core. Empty where the system has no sysfs. `root`: of /proc and /sys.
 */
export function readCores(root = '/'): Core[] {
  const folder = join(root, 'sys/devices/system/cpu');
  const allowed = /^Cpus_allowed_list:\s*(\S+)$/m.exec(readText(join(root, 'proc/self/status')) ?? '')?.[1];
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return [];
  }
  const present = names.filter((name) => /^cpu\d+$/.test(name)).map((name) => Number(name.slice(3))).sort((a, b) => a - b);
  const usable = new Set(allowed === undefined ? present : parseCpuList(allowed));
  const cpus = present.filter((cpu) => usable.has(cpu));
  const sources = ['cpu_capacity', 'cpufreq/cpuinfo_max_freq'].map((file) => cpus.map((cpu) => readNumber(join(folder, `cpu${cpu}`, file))));
  const speeds = sources.find((source) => !source.includes(null));
  return cpus.map((cpu, i) => ({ cpu, capacity: speeds?.[i] ?? null }));
}

/** The cores for an affinity. Little cores are the slowest kind, big ones all others. */
export function chooseCores(cores: readonly Core[], affinity: Affinity): CoreChoice {
  if (affinity === 'any') return { cpus: null, reason: 'any core' };
  if (cores.length === 0 || cores.some(({ capacity }) => capacity === null)) return { cpus: null, reason: 'any core, because the system does not say which cores are fast' };
  const limit = Math.min(...cores.map(({ capacity }) => capacity ?? 0)) * sameKind;
  const little = cores.filter(({ capacity }) => (capacity ?? 0) <= limit), big = cores.filter(({ capacity }) => (capacity ?? 0) > limit);
  if (big.length === 0) return { cpus: null, reason: 'any core, because all cores are of one kind' };
  const cpus = (affinity === 'big' ? big : little).map(({ cpu }) => cpu);
  return { cpus, reason: `${affinity} cores: ${cpus.join(', ')}` };
}

/**
 * The cores of this machine for an affinity.
 * @throws KernelError E_ARGUMENT for a value that is none
 */
export function coresFor(affinity: Affinity): CoreChoice {
  if (!affinities.includes(affinity)) throw new KernelError('E_ARGUMENT', `Expected one of ${affinities.join(', ')} for affinity but received ${String(affinity)}`);
  return chooseCores(affinity === 'any' ? [] : readCores(), affinity);
}
