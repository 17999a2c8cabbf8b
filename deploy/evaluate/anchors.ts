import { z } from 'zod';
import { RuntimeError } from '../../runtime/errors.js';
import type { Anchor } from '../../runtime/vision/decoders/family.js';
import { readInputFile } from '../cli/files.js';
import { DeployError } from '../errors.js';

const anchorList = z.array(z.tuple([z.number(), z.number(), z.number(), z.number()]));
const anchorFile = z.union([anchorList, z.object({ anchors: anchorList }).transform(({ anchors }) => anchors)]);

/**
 * Anchors of a JSON file: a list of [cy, cx, height, width] as shares of the input, or an object that has it as `anchors`.
 * @throws DeployError E_FILE, RuntimeError E_INPUT
 */
export async function readAnchors(path: string): Promise<readonly Anchor[]> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(await readInputFile(path)));
  } catch (cause) {
    if (cause instanceof DeployError) throw cause;
    throw new RuntimeError('E_INPUT', `Expected anchors but ${path} is not JSON`, { cause });
  }
  const parsed = anchorFile.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new RuntimeError('E_INPUT', `Expected a list of anchors [cy, cx, height, width], or an object with such a list as "anchors", in ${path}`);
}
