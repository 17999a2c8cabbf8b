/** Decides whether a download may ask for more at the moment, given maintenance windows and links that cost money. */
import { readFileSync } from 'node:fs';
import type { MaintenanceWindows } from '../platform/maintenance.js';
import type { Waiting } from './pace.js';

export interface Allowance {
  /** Why nothing may be asked for now, when so many bytes are missing; null when it may. */
  refusal(missingBytes: number): Extract<Waiting, 'maintenance' | 'metered'> | null;
}

export interface MeteredPolicy {
  /** Names of network interfaces that are metered; a `*` at the end stands for any ending. */
  interfaces: readonly string[];
  /** A download that still needs more bytes than this waits for another link; null means that none waits. */
  maxBytes: number | null;
}

export const alwaysAllowed: Allowance = { refusal: () => null };

/** @param root replaces `/`, so that tests can describe a machine of their own */
export function allowanceOf({ maintenance, metered, now, root = '' }: { maintenance: MaintenanceWindows; metered: MeteredPolicy; now: () => Date; root?: string }): Allowance {
  return {
    refusal: (missingBytes) => {
      if (!maintenance.isOpen(now())) return 'maintenance';
      if (metered.maxBytes === null || missingBytes <= metered.maxBytes) return null;
      return defaultInterfaces(root).some((name) => isMetered(name, metered.interfaces)) ? 'metered' : null;
    },
  };
}

function isMetered(name: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) => (pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern));
}

/** The interfaces of the default routes with the lowest metric, for IPv4 and IPv6 (Linux). Empty when the system does not tell. */
function defaultInterfaces(root: string): string[] {
  const four = lines(`${root}/proc/net/route`).slice(1).filter(([, destination, , , , , , mask]) => destination === '00000000' && mask === '00000000')
    .map((fields) => ({ name: fields[0] ?? '', metric: Number(fields[6]) }));
  const six = lines(`${root}/proc/net/ipv6_route`).filter(([destination, prefix, , , , , , , , name]) => /^0+$/.test(destination ?? '') && prefix === '00' && name !== 'lo')
    .map((fields) => ({ name: fields[9] ?? '', metric: Number.parseInt(fields[5] ?? '', 16) }));
  return [...new Set([four, six].flatMap((routes) => {
    const lowest = Math.min(...routes.map(({ metric }) => metric));
    return routes.filter(({ metric }) => metric === lowest).map(({ name }) => name);
  }))];
}

/** The fields of each line of one of the kernel's small tables. */
function lines(path: string): string[][] {
  try {
    return readFileSync(path, 'utf8').split('\n').filter((line) => line !== '').map((line) => line.trim().split(/\s+/));
  } catch {
    return []; // This is another system, whose links are unknown.
  }
}
