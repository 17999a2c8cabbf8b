/** The table of regions that the engine reads beside a program (kernels/engine/regions.h). */
import { RuntimeError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import { followPicture, type PictureFlow } from './flow.js';
import type { Flow, Grid } from '../ops/cell-flow.js';
import { defaultIncrement, type IncrementalOptions } from './options.js';

const tableVersion = 1;
const noRegion = 0xffffffff;

interface Level extends Grid {
  readonly ring: number;
  readonly whole: boolean;
}

/** What runs in part, of one compiled program. */
export class RegionTable {
  private readonly levels: Level[] = [];
  private readonly regions = new Map<string, number>();
  private readonly words: number[] = [];
  private readonly ops: number[] = [];
  private readonly options: Required<IncrementalOptions>;

  private constructor(private readonly picture: PictureFlow, options: IncrementalOptions) {
    this.options = { ...defaultIncrement, ...options };
  }

  /** @throws RuntimeError E_OPTION: the graph has no picture, or several */
  static of(graph: Graph, options: IncrementalOptions): RegionTable {
    const picture = followPicture(graph);
    if (picture !== undefined) return new RegionTable(picture, options);
    throw new RuntimeError('E_OPTION', `Expected a model with exactly one input [1, H, W, C] or [1, C, H, W] of at most 4 channels for incremental but its inputs are ${graph.inputs.join(', ')}; open it without that option`, { details: { option: 'incremental' } });
  }

  flow(value: string): Flow {
    return this.picture.flows.get(value);
  }

  /** The next op of the program computes the pixels of `flow`; undefined: it is computed in full. */
  addOp(flow: Flow): void {
    this.ops.push(this.region(flow));
  }

  /** The table's words, for a program with these outputs. */
  finish(outputs: readonly string[]): number[] {
    const ports = outputs.map((value) => this.region(this.flow(value)));
    const levels = this.levels.flatMap(({ rows, columns, ring, whole }) => [rows, columns, ring, whole ? 1 : 0]);
    return [tableVersion, this.levels.length, this.regions.size, this.ops.length, ports.length, ...levels, ...this.words, ...this.ops, ...ports];
  }

  private region(flow: Flow): number {
    if (flow === undefined) return noRegion;
    const pieces = flow.flatMap(({ rows, columns, pixels, first }) => [this.level({ rows, columns }), pixels, first]);
    const key = pieces.join();
    const known = this.regions.get(key);
    if (known !== undefined) return known;
    this.words.push(flow.length, ...pieces);
    this.regions.set(key, this.regions.size);
    return this.regions.size - 1;
  }

  private level({ rows, columns }: Grid): number {
    const known = this.levels.findIndex((level) => level.rows === rows && level.columns === columns);
    if (known >= 0) return known;
    const stride = Math.max(this.picture.grid.rows / rows, this.picture.grid.columns / columns);
    const { contextStride, context, wholeStride } = this.options;
    this.levels.push({ rows, columns, ring: stride >= contextStride ? context : 0, whole: stride >= wholeStride });
    return this.levels.length - 1;
  }
}
