import { attempt, type FaultPort } from './ground/faults.js';
import type { Counters, PipelineCounter } from './ground/counters.js';
import type { HostFiles } from './platform/host-files.js';
import { readMachineMemory, type MachineMemory } from './platform/meminfo.js';

/** Milliseconds between two looks at memory. */
const LOOK_MS = 5000;
/** Above this share of the service's limit (`MemoryMax=` of systemd), the kernel is close to ending the process. */
const FULL_SHARE = 0.9;
/** When less than this share of the machine's memory is available, the machine begins to swap or to end processes. */
const LEAST_AVAILABLE = 0.05;

/** Memory of this process and of the machine, bytes; null where the system does not say. */
export interface MemoryState extends MachineMemory {
  resident: number;
  /** Limit of the control group that the process is in. */
  limit: number | null;
}

/** Whether memory is so short that everything which can be computed again should be given back. */
export function isShort({ resident, limit, available, total }: MemoryState): boolean {
  return (limit !== null && resident > FULL_SHARE * limit) || (available !== null && total !== null && available < LEAST_AVAILABLE * total);
}

/** Reads what the system says (cgroup v2, /proc/meminfo). */
export async function readMemoryState(files: HostFiles): Promise<MemoryState> {
  const group = /^0::(\/.*)$/m.exec((await files.text('proc/self/cgroup')) ?? '')?.[1];
  return {
    resident: process.memoryUsage.rss(),
    limit: group === undefined ? null : await files.number(`sys/fs/cgroup${group}/memory.max`), // The text "max" is no number and means no limit.
    ...await readMachineMemory(files),
  };
}

export interface MemoryGuardParts {
  pipelines: readonly { slot: { running: { model: { pipeline: RunningPipeline } } | null }; counters: Pick<Counters<PipelineCounter>, 'add'> }[];
  read: () => Promise<MemoryState>;
  faults: FaultPort;
}

/** The part of a running pipeline that the guard needs. */
interface RunningPipeline {
  readonly keptBytes?: number;
  dropKept?(): void;
}

/**
 * Gives back the feature maps that detectors keep between frames while memory is short. The next frame that runs is computed in full and keeps its
 * maps again, so the memory stays free only for as long as nothing moves.
 */
export class MemoryGuard {
  readonly #parts: MemoryGuardParts;
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: MemoryGuardParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#timer ??= setInterval(() => void this.look(), LOOK_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Looks at memory once, and gives back feature maps if it is short. */
  async look(): Promise<void> {
    const state = await this.#parts.read();
    if (!isShort(state)) return;
    attempt(this.#parts.faults, 'agent', () => {
      for (const { slot, counters } of this.#parts.pipelines) {
        const pipeline = slot.running?.model.pipeline;
        if ((pipeline?.keptBytes ?? 0) === 0) continue;
        pipeline?.dropKept?.();
        counters.add('kept_maps_dropped_total');
      }
    });
  }
}
