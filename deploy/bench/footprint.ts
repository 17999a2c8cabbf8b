import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import type { EngineName } from '../../runtime/session-types.js';
import { DeployError } from '../errors.js';

const answerSchema = z.object({ rss_bytes: z.number(), rss_before_bytes: z.number(), load_ms: z.number() });
export type FootprintAnswer = z.infer<typeof answerSchema>;

// Sources that a test runner transforms on the fly have no compiled file that a process could start from.
const child = import.meta.url.endsWith('.js') ? fileURLToPath(new URL('./footprint-child.js', import.meta.url)) : undefined;

/**
 * What a process that does nothing but run a model takes. Undefined from uncompiled sources.
 * @throws DeployError E_BENCH: the process failed, with what it said
 */
export async function measureFootprint(engine: EngineName, path: string): Promise<FootprintAnswer | undefined> {
  if (child === undefined) return undefined;
  const process_ = spawn(process.execPath, ['--expose-gc', child, engine, path], { stdio: ['ignore', 'pipe', 'pipe'] });
  const [out, err] = await Promise.all([text(process_.stdout), text(process_.stderr), once(process_, 'close')]);
  const parsed = answerSchema.safeParse(tryJson(out));
  if (!parsed.success) throw new DeployError('E_BENCH', `The process that measures the memory of ${engine} on ${path} failed: ${err.trim()}`, { details: { engine, path } });
  return parsed.data;
}

function tryJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined; // a process that failed has printed nothing
  }
}
