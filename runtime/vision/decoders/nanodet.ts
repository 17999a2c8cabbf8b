import { z } from 'zod';
import { CandidateList } from './candidates.js';
import { addDistanceLevel } from './distances.js';
import { activationOf, activationSetting, cellsOf, classColumns, columnList, defineFamily, gridsOf, imagenet, outputName, strideList, stridesFor } from './family.js';
import type { Head, InputSize, PictureDefaults, Recognized } from './family.js';
import { checkTable, columnsOf, rowMajor, rowsOf } from './table.js';
import type { Outputs, Table } from './table.js';

const settings = z.object({
  type: z.literal('nanodet'),
  strides: strideList,
  /** One output [1, cells, classes + 4 bins] for all strides, or an output of scores and one of distances for each stride. */
  merged: outputName.optional(),
  scores: z.array(outputName).max(8).default([]),
  distances: z.array(outputName).max(8).default([]),
  class: classColumns,
  activation: activationSetting.default('none'),
  /** Bins of a side's distribution. */
  bins: z.number().int().min(1).max(64).default(8),
  /** Where in its cell the point is that distances start from: 0.5 (NanoDet, PicoDet), or 0 (NanoDet-Plus). */
  center: z.number().min(0).max(1).default(0.5),
});

type Settings = z.output<typeof settings>;

/** Its authors' configurations keep the aspect ratio (`keep_ratio: True`); those of NanoDet-Plus do not. */
const nanodetPictures: PictureDefaults = { channels: 'bgr', mean: [103.53, 116.28, 123.675], std: [57.375, 57.12, 58.395], fit: 'letterbox', pad: 0 };
const plusPictures: PictureDefaults = { ...nanodetPictures, fit: 'stretch' };
const usualBins = 8;

/** A pair of outputs for each stride, from the finest: [1, cells, C] and [1, cells, 4 bins]. */
function pairs(heads: readonly Head[], input: InputSize): { strides: number[]; scores: Head[]; distances: Head[] } | null {
  if (heads.length !== 6 && heads.length !== 8) return null;
  const strides = heads.length === 6 ? [8, 16, 32] : [8, 16, 32, 64];
  const grids = gridsOf(input, strides);
  const ofLevel = (cells: number): Head[] => heads.filter(({ dims }) => dims.length === 3 && dims[1] === cells);
  const isDistances = ({ name, dims }: Head): boolean => (dims[2] ?? 0) % 4 === 0 && (dims[2] === 4 * usualBins || /dis|reg|box/i.test(name));
  // 32 classes look like 32 distances: then names tell, or the distances are those that no sigmoid made.
  const distances = grids.map(({ cells }) => ofLevel(cells).filter(isDistances).sort((a, b) => Number(b.dims[2] === 32) - Number(a.dims[2] === 32))
    .find((head, _, all) => all.length === 1 || /dis|reg|box/i.test(head.name) || !head.ends.includes('Sigmoid')));
  const scores = grids.map(({ cells }, level) => ofLevel(cells).find((head) => head !== distances[level]));
  if (grids.some((_, level) => distances[level] === undefined || scores[level] === undefined)) return null;
  return { strides, scores: scores.flatMap((head) => head ?? []), distances: distances.flatMap((head) => head ?? []) };
}

/** Distances as distributions on grids (NanoDet, NanoDet-Plus; G. Yu et al., "PP-PicoDet", 2021). */
export const nanodet = defineFamily({
  type: 'nanodet',
  title: 'NanoDet or PicoDet',
  fits: 'scores [1, cells, C] and distances [1, cells, 32] for each stride, or one output [1, cells of strides 8 to 64, C + 32] (NanoDet, PicoDet)',
  settings,
  recognize({ heads, input }): Recognized<Settings> | null {
    const found = pairs(heads, input);
    const common = { scoreThreshold: 0.4, suppress: true };
    const [head, ...others] = heads;
    if (found !== null) {
      const [scores, distances] = [found.scores[0], found.distances[0]];
      if (scores === undefined || distances === undefined) return null;
      return {
        ...common, classes: scores.dims[2] ?? 0, picture: found.strides.length === 4 ? imagenet : nanodetPictures,
        decoder: {
          type: 'nanodet', strides: found.strides, scores: found.scores.map(({ name }) => name), distances: found.distances.map(({ name }) => name),
          class: undefined, activation: activationOf(scores, 'none'), bins: (distances.dims[2] ?? 0) / 4, center: 0.5,
        },
      };
    }
    if (head === undefined || others.length > 0 || head.dims.length !== 3 || (head.dims[2] ?? 0) <= 4 * usualBins) return null;
    const strides = stridesFor(input, head.dims[1] ?? 0);
    if (strides?.length !== 4 || strides[0] !== 8) return null;
    return {
      ...common, classes: (head.dims[2] ?? 0) - 4 * usualBins, picture: plusPictures,
      decoder: { type: 'nanodet', strides, merged: head.name, scores: [], distances: [], class: undefined, activation: 'none', bins: usualBins, center: 0 },
    };
  },
  decode(outputs, stated, { input, fit, threshold, everyClass }) {
    const { merged, bins, center, activation } = stated;
    const all = merged === undefined ? undefined : mergedTable(outputs, merged, cellsOf(input, stated.strides));
    const list = new CandidateList(fit);
    for (const [level, grid] of gridsOf(input, stated.strides).entries()) {
      const options = { bins, center, activation, columns: columnList(stated.class), threshold, everyClass };
      if (all === undefined) {
        addDistanceLevel(list, { grid, scores: rowMajor(outputs, stated.scores[level] ?? ''), distances: rowMajor(outputs, stated.distances[level] ?? '') }, options);
        continue;
      }
      const rows = rowsOf(all, grid.first, grid.cells);
      addDistanceLevel(list, { grid, scores: columnsOf(rows, 0, rows.columns - 4 * bins), distances: columnsOf(rows, rows.columns - 4 * bins) }, options);
    }
    return list.finish();
  },
});

/** @throws RuntimeError E_MODEL_SHAPE when the output does not have the cells of all strides */
function mergedTable(outputs: Outputs, name: string, cells: number): Table {
  const table = rowMajor(outputs, name);
  return checkTable(table, name, cells, table.columns);
}
