/** A package as the parts of the daemon name it, and what its test finds. */

export interface PackageId {
  name: string;
  version: string;
  /** SHA-256, hex: the package's address in the store. */
  digest: string;
  size_bytes: number;
}

/** What becomes of people whom another embedder enrolled. */
export type GalleryPlan = 're-embed' | 'enroll';

export interface Slot extends PackageId {
  since_ms: number;
}

/** What opening and the self-test found. */
export interface GateReport {
  name: string;
  version: string;
  memory_bytes: number;
  golden: { name: string; passed: boolean; detail: string }[];
  /** Of the self-test's timed runs of all stages together; null when the package has none. */
  p50_ms: number | null;
  p99_ms: number | null;
  /** Energy of one inference of all stages, and where the number comes from; null where the device has no source, or nothing was run. */
  energy: { joules: number; source: string } | null;
  embedding_space_id: string | null;
  /** What its manifest plans for people of another embedding space; null: nothing. */
  gallery_plan: GalleryPlan | null;
  /** Of the manifest. `joules`: of one inference; absent when the package states none. */
  budget: { ram_bytes: number; p99_ms: number; joules?: number | undefined };
}

/** How a candidate does beside the package that serves. Shares are 0..1, and null where there was nothing to compare. */
export interface ShadowReport {
  /** `undecided`: there were too few samples, and the rules let it go on. `skipped`: there was nothing to compare it with. */
  state: 'running' | 'passed' | 'undecided' | 'failed' | 'skipped';
  /** What was not compared, and why. */
  note: string | null;
  samples: number;
  samples_wanted: number;
  /** Samples that were left out because the candidate was behind. */
  skipped: number;
  /** Samples on which the candidate failed. */
  errors: number;
  agreement: { boxes: number | null; identities: number | null; classes: number | null };
  /** Median time for a frame, without the time in which others had the processor. */
  p50_ms: number | null;
  serving_p50_ms: number | null;
  /** Of a frame, modelled from processor time. */
  joules: number | null;
}
