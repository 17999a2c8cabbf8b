import type { Rewriter } from '../rewriter.js';
import type { TensorQuantization } from './parameters.js';

/** Builds a quantized value in the graph and returns its name. */
export type Build = () => string;

/**
 * How to compute `value`, a float tensor, directly in the quantized form `q`: undefined when there is no integer way.
 * Planning changes nothing; only the returned function edits the graph.
 */
export type Planner = (editor: Rewriter, value: string, q: TensorQuantization) => Build | undefined;
