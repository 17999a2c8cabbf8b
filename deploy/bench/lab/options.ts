/** What the sections of `npm run bench:lab` are given. */
export interface LabBenchOptions {
  /** Folder of published models. */
  models?: string;
  /** Folder with `orl` (a folder of PGM pictures for each person), `coco128` (images, labels) and `esc10` (a folder of recordings for each class). */
  samples?: string;
  /** Of each training. */
  steps: number;
  signal: AbortSignal;
}
