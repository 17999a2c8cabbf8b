import { z } from 'zod';
import type { CommandName } from '../contracts/index.js';
import { AgentError } from '../errors.js';
import type { PipelineSlot } from '../inference/pipeline-slot.js';
import { noLimits, passGate } from '../ota/gate.js';
import type { GateReport } from '../ground/package.js';
import type { OtaManager } from '../ota/manager.js';
import type { Log } from '../platform/log.js';
import type { Reporter } from '../report/reporter.js';
import type { CommandAction } from './handler.js';

export interface ActionParts {
  /** The pipeline of this name; without a name, the first pipeline. @throws AgentError E_PIPELINE_UNKNOWN */
  pipeline: (name?: string) => { slot: PipelineSlot; ota: Pick<OtaManager, 'rollback' | 'settled' | 'state'> };
  reporter: Pick<Reporter, 'rebirth'>;
  /** Publishes the birth message of this connection again. */
  birth: () => Promise<void>;
  log: Pick<Log, 'tail'>;
}

/** Upper bound of the log's tail in an answer. A message has room for 128 KiB; this leaves some for the rest of the answer. */
const TAIL_CHARACTERS = 32 * 1024;
/** `from`: go back only if this package runs. */
const rollbackArgs = z.object({ from: z.string().regex(/^[0-9a-f]{64}$/).optional() });
const tailArgs = z.object({ lines: z.number().int().min(1).max(200).default(50) });

/** What each command does. The value that an action returns becomes the `result` of the answer. */
export function commandActions(parts: ActionParts): Record<CommandName, CommandAction> {
  return {
    rebirth: async () => {
      await parts.birth();
      await parts.reporter.rebirth();
      return {};
    },
    'self-test': async (_args, name) => {
      const pipeline = parts.pipeline(name);
      const { report, digest } = await test(pipeline);
      const { active } = pipeline.ota.state;
      passGate(active?.digest === digest ? active : { ...report, digest, size_bytes: 0 }, report, noLimits);
      return summary(report);
    },
    bench: async (_args, name) => summary((await test(parts.pipeline(name))).report),
    rollback: async (args, name) => {
      const { ota } = parts.pipeline(name);
      const parsed = rollbackArgs.safeParse(args);
      if (!parsed.success) throw new AgentError('E_COMMAND', 'Expected from to be the SHA-256 of a package, 64 hexadecimal digits');
      const { from } = parsed.data;
      // Whoever is not certain that the device has gone back already may ask again.
      if (from === undefined || ota.state.active?.digest === from) await ota.rollback();
      return { active: ota.state.active };
    },
    'log-tail': (args) => {
      const parsed = tailArgs.safeParse(args);
      if (!parsed.success) throw new AgentError('E_COMMAND', 'Expected lines to be a whole number from 1 to 200');
      return { lines: newest(parts.log.tail(parsed.data.lines)) };
    },
  };
}

/**
 * Tests the package that was decided on, also when it is not in place yet. The test runs between frames: the pipeline's own turns keep the two apart.
 */
async function test({ slot, ota }: ReturnType<ActionParts['pipeline']>): Promise<{ report: GateReport; digest: string }> {
  await ota.settled();
  const tested = await slot.use(async (running) => ({ report: await running.model.selfTest(), digest: running.slot.digest }));
  if (tested === null) throw new AgentError('E_NO_MODEL', 'No package is active yet');
  return tested;
}

function summary(report: GateReport): Record<string, unknown> {
  const { name, version, memory_bytes, p50_ms, p99_ms, energy, budget, golden } = report;
  return { name, version, memory_bytes, p50_ms, p99_ms, energy, budget, golden: golden.length, golden_failed: golden.filter((v) => !v.passed).length };
}

function newest(lines: readonly string[]): string[] {
  const kept: string[] = [];
  let size = 0;
  for (const line of [...lines].reverse()) {
    size += line.length;
    if (size > TAIL_CHARACTERS) break;
    kept.unshift(line);
  }
  return kept;
}
