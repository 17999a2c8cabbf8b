import type { Graph } from '../graph/graph.js';
import type { TensorValue } from '../graph/tensor-value.js';
import { partsOf, type InterpretedPart, type ModelPart } from '../lower/parts.js';
import { isRefusal } from './refusal.js';

/** Attempts to open a model in parts: each that fails finds at least one more node to interpret. */
const maximumAttempts = 32;

/** A part with what was made of its graph. */
export interface OpenedPart<T> {
  readonly kind: 'compiled';
  readonly graph: Graph;
  readonly opened: T;
}

export interface OpenedParts<T> {
  readonly parts: readonly (OpenedPart<T> | InterpretedPart)[];
  readonly constants: ReadonlyMap<string, TensorValue>;
}

export interface PartOpener<T> {
  /** @throws RuntimeError: what the part is refused for */
  open(graph: Graph): Promise<T>;
  close(opened: T): Promise<void>;
}

/** The node that is refused because one of its operands is not a constant. */
function refusedNode({ nodes }: Graph, error: unknown): string | undefined {
  const name = isRefusal(error) && typeof error.details['operand'] === 'string' ? error.details['node'] : undefined;
  return typeof name === 'string' && nodes.some((node) => node.name === name) ? name : undefined;
}

/** Opens every program of a model. A name: of a node that has to be interpreted, too. */
async function openAll<T>(parts: readonly ModelPart[], opener: PartOpener<T>): Promise<OpenedParts<T>['parts'] | string> {
  const opened: (OpenedPart<T> | InterpretedPart)[] = [];
  for (const part of parts) {
    if (part.kind === 'interpreted') {
      opened.push(part);
      continue;
    }
    try {
      opened.push({ ...part, opened: await opener.open(part.graph) });
    } catch (error) {
      for (const each of opened) if (each.kind === 'compiled') await opener.close(each.opened);
      const name = refusedNode(part.graph, error);
      if (name === undefined) throw error;
      return name;
    }
  }
  return opened;
}

/**
 * A model in parts: what programs can have, and the nodes between them.
 * @param refusal why it cannot be one program, which is thrown when there is no other way
 * @param accept whether to go on with these nodes as interpreted ones; undefined is returned when not
 */
export async function openInParts<T>(graph: Graph, opener: PartOpener<T>, refusal: unknown, accept: (parts: readonly ModelPart[], constants: ReadonlyMap<string, TensorValue>) => boolean): Promise<OpenedParts<T> | undefined> {
  const apart = new Set<string>();
  for (let attempt = 0; attempt < maximumAttempts; attempt++) {
    const { parts, constants } = partsOf(graph, apart);
    if (attempt > 0 && parts.every(({ kind }) => kind === 'compiled')) break;
    if (!accept(parts, constants)) return undefined;
    const opened = await openAll(parts, opener);
    if (typeof opened !== 'string') return { parts: opened, constants };
    apart.add(opened);
  }
  throw refusal;
}
