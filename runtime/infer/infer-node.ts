import { misshapen } from '../graph/attributes.js';
import { constantElements, limitsOf, typeOf, type Graph, type Node } from '../graph/graph.js';
import { elementCount, type TensorValue, type ValueType } from '../graph/tensor-value.js';
import { DivisionByZero } from '../ops/exact.js';
import { checkedType } from '../ops/op.js';
import { operatorOf, recordOf, stepsOf } from '../ops/registry.js';

/** Types of a node's outputs. `constants` are its inputs' values where known. */
export function inferNode(graph: Graph, node: Node, types: ReadonlyMap<string, ValueType>, known: ReadonlyMap<string, TensorValue>): ValueType[] {
  const inputs = node.inputs.map((name) => {
    if (name === '') return undefined;
    const constant = known.get(name) ?? graph.constants.get(name);
    return constant === undefined ? (types.get(name) ?? typeOf(graph, name)) : { dtype: constant.dtype, shape: constant.dims };
  });
  const constants = node.inputs.map((name) => known.get(name) ?? graph.constants.get(name));
  const outputs = operatorOf(node).infer({ node, opset: graph.opset, inputs, constants });
  if (outputs.length < node.outputs.filter((output) => output !== '').length) {
    throw misshapen(node, `Expected at most ${outputs.length} outputs but found ${node.outputs.length}`);
  }
  return outputs.map((type) => checkedType(node, type, limitsOf(graph)));
}

/** Evaluates a node whose inputs are all known. */
export function evaluateNode(graph: Graph, node: Node, inputs: readonly (TensorValue | undefined)[], outputs: readonly ValueType[]): TensorValue[] {
  return operatorOf(node).evaluate({ node, opset: graph.opset, inputs, outputs });
}

/** What one pass may still compute of constants. */
export interface FoldBudget {
  elements: number;
  steps: number;
}

export function foldBudget(graph: Graph): FoldBudget {
  const { constantElements: elements, foldSteps } = limitsOf(graph);
  return { elements: elements - constantElements(graph.constants), steps: foldSteps };
}

/** Takes a node's evaluation out of the budget; false when it is too much. */
function spend(budget: FoldBudget, node: Node, inputs: readonly (TensorValue | undefined)[], outputs: readonly ValueType[]): boolean {
  const shapes = outputs.map(({ shape }) => shape);
  const elements = shapes.reduce((sum, shape) => sum + elementCount(shape), 0);
  const steps = stepsOf(node, inputs.map((input) => input?.dims ?? []), shapes);
  if (elements > budget.elements || steps > budget.steps) return false;
  budget.elements -= elements;
  budget.steps -= steps;
  return true;
}

/** What is known before a node is evaluated: types, values, and how much may be computed. */
export interface Knowledge {
  readonly types: ReadonlyMap<string, ValueType>;
  readonly known: ReadonlyMap<string, TensorValue>;
  readonly budget: FoldBudget;
  /** Whether this is a run: operators that draw random numbers are computed, too. Default false. */
  readonly running?: boolean;
}

/**
 * What a node computes, when that is known without running the model: its inputs are constants, or it asks only for the
 * shape of its input. Undefined otherwise, and when it would take more than is left of the budget.
 */
export function knownOutputs(graph: Graph, node: Node, { types, known, budget, running = false }: Knowledge, outputs: readonly ValueType[]): TensorValue[] | undefined {
  if (!running && recordOf(node)?.volatile === true) return undefined;
  const onlyShape = node.op === 'Shape' || node.op === 'Size';
  const inputs: (TensorValue | undefined)[] = [];
  for (const name of node.inputs) {
    if (name === '') {
      inputs.push(undefined);
      continue;
    }
    const value = known.get(name) ?? graph.constants.get(name) ?? (onlyShape ? placeholder(types.get(name)) : undefined);
    if (value === undefined) return undefined;
    inputs.push(value);
  }
  if (!spend(budget, node, inputs, outputs)) return undefined;
  try {
    return evaluateNode(graph, node, inputs, outputs);
  } catch (error) {
    // A division that fails ends a run; until then it may be in a branch that is never taken.
    if (!running && error instanceof DivisionByZero) return undefined;
    throw error;
  }
}

/** A tensor that has a shape and no elements, for operators that look at nothing else. */
function placeholder(type: ValueType | undefined): TensorValue | undefined {
  return type === undefined ? undefined : { dtype: 'uint8', dims: type.shape, data: new Uint8Array(0) };
}
