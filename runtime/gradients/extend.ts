import type { Graph } from '../graph/graph.js';
import type { ValueType } from '../graph/tensor-value.js';
import { Calculus } from './rule.js';
import { Tape } from './tape.js';

/** What is added to a graph. */
export interface Extension {
  /** Further inputs, with their types. */
  readonly inputs?: Readonly<Record<string, ValueType>>;
  /** Writes nodes that read values of the graph, and gives back the further outputs: what each name stands for. */
  write(m: Calculus): Readonly<Record<string, string>>;
}

/**
 * An inferred graph with more nodes behind it, such as a loss.
 * @throws RuntimeError E_MODEL_OP, E_MODEL_SHAPE, E_MODEL_LIMIT
 */
export function extendGraph(graph: Graph, { inputs = {}, write }: Extension): Graph {
  const names = Object.keys(inputs);
  const open: Graph = { ...graph, inputs: [...graph.inputs, ...names], types: new Map([...graph.types, ...Object.entries(inputs)]) };
  const tape = new Tape(open, []);
  tape.origin = 'added';
  const outputs = write(new Calculus(tape));
  for (const [name, value] of Object.entries(outputs)) tape.alias(name, value);
  return { ...open, nodes: [...graph.nodes, ...tape.nodes], constants: tape.constants, types: tape.types, outputs: [...graph.outputs, ...Object.keys(outputs)] };
}
