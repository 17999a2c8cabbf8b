import type { Shape } from '../graph/tensor-value.js';

/** The grid of the maps of one size. */
export interface Grid {
  readonly rows: number;
  readonly columns: number;
}

/** Pixels `first` and following: `pixels` for each cell of a grid, row-major. */
export interface Piece extends Grid {
  readonly pixels: number;
  readonly first: number;
}

/** The pieces of a value, in the order of its pixels, all of them. Undefined: cells of the picture cannot be told apart in it. */
export type Flow = readonly Piece[] | undefined;

/** What a rule knows of the values that a node reads. */
export interface FlowContext {
  shape(value: string): Shape;
  flow(value: string): Flow;
  constant(value: string): boolean;
  /** Whether a value is a map [1, H, W, C] whose pixels are the cells of its grid. */
  isMap(value: string): boolean;
}
