import { z } from 'zod';
import { RuntimeError } from '../../errors.js';
import { CandidateList } from './candidates.js';
import type { Candidates } from './candidates.js';
import { boxCoding, boxUnits, classColumns, columnList, cornersOf, defineFamily, outputName, rgbOf255 } from './family.js';
import type { DecodeFrame, Head, Recognized } from './family.js';
import { floatOutput, fourAt, numericOutput, rowMajor, valueAt, wrongSize } from './table.js';
import type { Outputs, Table } from './table.js';

const settings = z.object({
  type: z.literal('listed'),
  /** Numbers of classes that count, in the order of the labels; absent: all, from `first_class`. */
  class: classColumns,
  /** Number of the class that label 0 stands for. */
  first_class: z.number().int().nonnegative().default(0),
  coding: boxCoding,
  units: boxUnits,
  from: z.discriminatedUnion('form', [
    /** Outputs of boxes [M, 4], scores [M], classes [M], and how many of them count. */
    z.object({ form: z.literal('lists'), boxes: outputName, scores: outputName, classes: outputName.optional(), count: outputName.optional() }),
    /** One output of rows: four numbers of a box, score and class; or the number of the picture first, and the class before the score. */
    z.object({ form: z.literal('rows'), output: outputName, order: z.enum(['box-score-class', 'picture-box-class-score']) }),
    /** What NonMaxSuppression selected ([M, 3]: picture, class, box), and its own operands [1, N, 4] and [1, C, N]. */
    z.object({ form: z.literal('indices'), selected: outputName, boxes: outputName, scores: outputName }),
  ]),
});

type Stated = z.output<typeof settings>;

/** Detections that the model lists after a suppression of its own. */
export const listed = defineFamily({
  type: 'listed',
  title: 'detections after a suppression in the graph',
  fits: 'boxes, scores and classes after a suppression in the graph ([M, 4], [M] and [M]; rows of 6 or 7; or the indices of NonMaxSuppression with its operands)',
  settings,
  recognize({ heads }): Recognized<Stated> | null {
    const found = indices(heads) ?? lists(heads) ?? rows(heads);
    return found === null ? null : { decoder: { type: 'listed', class: undefined, ...found.decoder }, classes: found.classes, picture: rgbOf255, scoreThreshold: 0.4, suppress: false };
  },
  decode(outputs, stated, frame) {
    const { from } = stated;
    const list = new ListedDetections(stated, frame);
    if (from.form === 'lists') readLists(outputs, from, list);
    else if (from.form === 'rows') readRows(outputs, from, list);
    else readIndices(outputs, from, list);
    return list.finish();
  },
});

type Found = { decoder: Pick<Stated, 'from' | 'coding' | 'units' | 'first_class'>; classes: number } | null;

function indices(heads: readonly Head[]): Found {
  const selected = heads.find(({ dims, ends, name }) => dims.length === 2 && dims[1] === 3 && (ends.includes('NonMaxSuppression') || /select|indices|nms/i.test(name)));
  const boxes = heads.find(({ dims }) => dims.length === 3 && dims[2] === 4);
  const scores = heads.find((head) => head !== boxes && head.dims.length === 3 && head.dims[2] === boxes?.dims[1]);
  if (selected === undefined || boxes === undefined || scores === undefined) return null;
  // The operator's boxes are y1, x1, y2, x2 unless it is told otherwise.
  return { classes: scores.dims[1] ?? 0, decoder: { from: { form: 'indices', selected: selected.name, boxes: boxes.name, scores: scores.name }, coding: 'yxyx', units: 'shares', first_class: 0 } };
}

function lists(heads: readonly Head[]): Found {
  const boxes = heads.find(({ dims }) => dims.length >= 2 && dims.length <= 3 && dims.at(-1) === 4);
  const rest = heads.filter((head) => head !== boxes && head.dims.length <= 2);
  const named = (pattern: RegExp): string | undefined => rest.find(({ name }) => pattern.test(name))?.name;
  const scores = named(/score|conf/i);
  const classes = named(/class|label/i);
  if (boxes === undefined || scores === undefined) return null;
  const count = named(/num|count/i);
  // TensorFlow's names: y first, and COCO's classes start at 1.
  const tensorflow = /detection/i.test(boxes.name);
  return {
    classes: classes === undefined ? 1 : 0,
    decoder: {
      from: { form: 'lists', boxes: boxes.name, scores, ...(classes === undefined ? {} : { classes }), ...(count === undefined ? {} : { count }) },
      coding: tensorflow ? 'yxyx' : 'xyxy', units: 'shares', first_class: 0,
    },
  };
}

function rows([head, ...others]: readonly Head[]): Found {
  const width = head?.dims.at(-1) ?? 0;
  if (head === undefined || others.length > 0 || (width !== 6 && width !== 7) || head.dims.length < 2 || head.dims.length > 3) return null;
  // [1, 6] and [1, 7] are vectors: scores of classes, say.
  if (head.dims.length === 2 && head.dims[0] === 1) return null;
  if (head.dims.length === 3 && (head.dims[0] !== 1 || (head.dims[1] ?? 0) > 1000)) return null;
  return { classes: 0, decoder: { from: { form: 'rows', output: head.name, order: width === 6 ? 'box-score-class' : 'picture-box-class-score' }, coding: 'xyxy', units: 'pixels', first_class: 0 } };
}

/** Adds what was listed, when its class counts and its score suffices. */
class ListedDetections {
  readonly #stated: Stated;
  readonly #frame: DecodeFrame;
  readonly #list: CandidateList;
  readonly #columns: readonly number[] | undefined;

  constructor(stated: Stated, frame: DecodeFrame) {
    this.#stated = stated;
    this.#frame = frame;
    this.#list = new CandidateList(frame.fit);
    this.#columns = columnList(stated.class);
  }

  add(boxes: Table, row: number, score: number, number: number): void {
    const label = this.#columns === undefined ? number - this.#stated.first_class : this.#columns.indexOf(number);
    if (!(score >= this.#frame.threshold) || !(label >= 0)) return;
    this.#list.add(Math.min(1, score), label, cornersOf(this.#stated.coding, this.#stated.units, this.#frame.input, fourAt(boxes, row)));
  }

  finish(): Candidates {
    return this.#list.finish();
  }
}

function readLists(outputs: Outputs, from: Extract<Stated['from'], { form: 'lists' }>, list: ListedDetections): void {
  const boxes = rowMajor(outputs, from.boxes, 4);
  const scores = floatOutput(outputs, from.scores).data;
  const classes = from.classes === undefined ? undefined : numericOutput(outputs, from.classes).data;
  const count = from.count === undefined ? scores.length : Number(numericOutput(outputs, from.count).data[0] ?? 0);
  if (boxes.rows !== scores.length || (classes !== undefined && classes.length !== scores.length)) {
    throw new RuntimeError('E_MODEL_SHAPE', `Expected as many boxes and classes as scores but received ${boxes.rows} boxes, ${classes?.length ?? 'no'} classes and ${scores.length} scores`);
  }
  for (let row = 0; row < Math.min(count, scores.length); row++) list.add(boxes, row, scores[row] ?? 0, Number(classes?.[row] ?? 0));
}

function readRows(outputs: Outputs, { output, order }: Extract<Stated['from'], { form: 'rows' }>, list: ListedDetections): void {
  const wide = order === 'picture-box-class-score';
  const table = rowMajor(outputs, output);
  if (table.rows > 0 && table.columns !== (wide ? 7 : 6)) throw wrongSize(output, `rows of ${wide ? 7 : 6} values`, outputs[output]?.dims ?? []);
  const boxes = wide ? { ...table, start: table.start + 1 } : table;
  for (let row = 0; row < table.rows; row++) list.add(boxes, row, valueAt(table, row, wide ? 6 : 4), valueAt(table, row, 5));
}

function readIndices(outputs: Outputs, from: Extract<Stated['from'], { form: 'indices' }>, list: ListedDetections): void {
  const boxes = rowMajor(outputs, from.boxes, 4);
  const { dims, data } = floatOutput(outputs, from.scores);
  const selected = numericOutput(outputs, from.selected).data;
  if (dims[2] !== boxes.rows) throw wrongSize(from.scores, `[1, C, ${boxes.rows}]`, dims);
  for (let i = 0; i < selected.length; i += 3) {
    const [number, row] = [Number(selected[i + 1]), Number(selected[i + 2])];
    // An engine that cannot give fewer rows fills the others with -1.
    if (number >= 0 && row >= 0 && row < boxes.rows) list.add(boxes, row, data[number * boxes.rows + row] ?? NaN, number);
  }
}
