/** The entry of the process that adapts a package's thresholds. `adapt-process.ts` starts it, with the lowest priority. */
import { z } from 'zod';
import { FindingsJudge } from '../../runtime/adapt/findings-judge.js';
import { writeOverlay } from '../../runtime/adapt/overlay.js';
import { PackageAdapter, type PackageAdaptation } from '../../runtime/adapt/package-adapter.js';
import type { Frame } from '../../runtime/frame.js';
import { compileInPlace } from '../../runtime/lower/compile-thread.js';
import { openPackage, type ModelPackage } from '../../runtime/package/index.js';
import { toCodedError } from '../errors.js';
import type { AdaptAsk } from './adapt-protocol.js';
import { beginModestly } from './modest.js';
import { obeyDaemonAlone } from './candidate-protocol.js';

const requestSchema = z.object({ path: z.string() });
const engine = { threads: 1 } as const;

/** Mean share of the error that the adapted models win back; null when there are none. */
function gainOf({ stages }: PackageAdaptation): number | null {
  const gains = stages.flatMap(({ report }) => (report?.kept === true ? [1 - report.error_after / report.error_before] : []));
  return gains.length === 0 ? null : gains.reduce((sum, gain) => sum + gain, 0) / gains.length;
}

/** One package on its way through the three phases. */
class Adapting {
  readonly #package: ModelPackage;
  readonly #adapter: PackageAdapter;
  #steps: ReturnType<PackageAdapter['adapt']> | null = null;
  #result: PackageAdaptation | null = null;
  #judge: FindingsJudge | null = null;

  private constructor(modelPackage: ModelPackage, adapter: PackageAdapter) {
    this.#package = modelPackage;
    this.#adapter = adapter;
  }

  static async open(path: string): Promise<Adapting> {
    const modelPackage = await openPackage(path);
    return new Adapting(modelPackage, await PackageAdapter.open(modelPackage, engine));
  }

  gather(frame: Frame): Promise<void> {
    return this.#adapter.gather(frame);
  }

  async step(): Promise<{ reason: string | null; gain: number | null } | null> {
    this.#steps ??= this.#adapter.adapt();
    const { done, value } = await this.#steps.next();
    if (done !== true) return null;
    this.#result = value;
    if (value.reason === null) this.#judge = await FindingsJudge.open(this.#package, value.models, engine);
    return { reason: value.reason, gain: gainOf(value) };
  }

  async judge(frame: Frame): Promise<void> {
    await this.#judge?.add(frame);
  }

  verdict(): { reason: string | null; overlay: Uint8Array | null } {
    const [result, verdict] = [this.#result, this.#judge?.verdict()];
    if (result === null || verdict === undefined) return { reason: 'nothing was judged', overlay: null };
    if (verdict.broken !== null) return { reason: `${verdict.broken} agree less with those of unrounded activations than before`, overlay: null };
    return { reason: null, overlay: writeOverlay(this.#package, result.models) };
  }
}

let adapting: Adapting | null = null;

/** Garbage is collected when so much was allocated since it was last: on its own, V8 would wait until the heap is several times as large. Bytes. */
const growth = 1 << 20;
let leastBytes = 0;

function collect(): void {
  const used = (): number => {
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };
  if (used() < leastBytes + growth) return;
  globalThis.gc?.();
  leastBytes = used();
}

async function answer(message: unknown): Promise<object> {
  const before = process.cpuUsage();
  const cost = (): { cpuMs: number } => {
    const { user, system } = process.cpuUsage(before);
    return { cpuMs: (user + system) / 1000 };
  };
  if (adapting === null) {
    adapting = await Adapting.open(requestSchema.parse(message).path);
    const { user, system } = process.cpuUsage(); // Since the start of the process.
    return { opened: { cpuMs: (user + system) / 1000 } };
  }
  const ask = message as AdaptAsk;
  if ('gather' in ask) await adapting.gather(ask.gather);
  else if ('judge' in ask) await adapting.judge(ask.judge);
  else if ('step' in ask) {
    const tuned = await adapting.step();
    return { stepped: { ...cost(), tuned } };
  } else return { verdict: { ...cost(), ...adapting.verdict() } };
  return { taken: cost() };
}

beginModestly();
compileInPlace(collect);
obeyDaemonAlone();
process.on('message', (message) => {
  collect(); // The pieces in which a frame came.
  void answer(message).catch((error: unknown) => ({ error: toCodedError(error) })).then((said) => {
    process.send?.(said);
    collect();
  });
});
