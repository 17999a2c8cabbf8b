/** The kinds of pipelines that this runtime knows: one line and one folder each (README.md, "To add a kind"). */
import { RuntimeError } from '../errors.js';
import type { PipelineDescription } from '../stages/contract.js';
import { classification } from './classification/kind.js';
import { detection } from './detection/kind.js';
import { embedding } from './embedding/kind.js';
import { faceRecognition } from './face-recognition/kind.js';
import type { Blueprint, Kind } from './kind.js';
import type { VariantDescription } from './variants.js';
import { sound } from './sound/kind.js';

export const kinds: readonly Kind[] = [faceRecognition, detection, classification, embedding, sound];

/** @throws RuntimeError E_PACKAGE_VERSION: a newer runtime may know it */
export function kindOf(name: string): Kind {
  const kind = kinds.find((candidate) => candidate.name === name);
  if (kind !== undefined) return kind;
  throw new RuntimeError('E_PACKAGE_VERSION', `Expected a pipeline of kind ${kinds.map((known) => known.name).join(', ')} but received "${name}"; a newer Sterna may know it`);
}

/** @throws RuntimeError E_PACKAGE, E_PACKAGE_VERSION */
export function parsePipeline(description: PipelineDescription, variants: readonly VariantDescription[] = []): Blueprint {
  return kindOf(description.kind).parse(description, variants);
}
