/** How the parts of the daemon name a package, and what its test finds. */

export interface PackageId {
  name: string;
  version: string;
  /** SHA-256 in hexadecimal digits. It is the package's address in the store. */
  digest: string;
  size_bytes: number;
}

/** What is done about people whom another embedder enrolled. */
export type GalleryPlan = 're-embed' | 'enroll';

export interface Slot extends PackageId {
  since_ms: number;
}

/** What the process that opened and tested a package found. */
export interface GateReport {
  name: string;
  version: string;
  memory_bytes: number;
  golden: { name: string; passed: boolean; detail: string }[];
  /** Median of the self-test's timed runs of all stages together; null when the package has no timed runs. */
  p50_ms: number | null;
  p99_ms: number | null;
  /** Energy of one inference of all stages, and the source of the number; null where the device has no such source, or when nothing was run. */
  energy: { joules: number; source: string } | null;
  embedding_space_id: string | null;
  /** What the package's manifest plans for people of another embedding space; null when it plans nothing. */
  gallery_plan: GalleryPlan | null;
  /** The budget that the manifest states. `joules` is for one inference; absent when the package states none. */
  budget: { ram_bytes: number; p99_ms: number; joules?: number | undefined };
}

/** How a candidate does beside the serving package. Shares are 0 to 1, and null where there was nothing to compare. */
export interface ShadowReport {
  /** `undecided`: there were too few samples, and the rules let it go on. `skipped`: there was nothing to compare it with. */
  state: 'running' | 'passed' | 'undecided' | 'failed' | 'skipped';
  /** What was not compared, and why; null when everything was. */
  note: string | null;
  samples: number;
  samples_wanted: number;
  /** Samples that were left out because the candidate was still at work on an earlier one. */
  skipped: number;
  /** Samples on which the candidate failed. */
  errors: number;
  agreement: { boxes: number | null; identities: number | null; classes: number | null };
  /** Median time for a frame, without the time in which others had the processor. */
  p50_ms: number | null;
  serving_p50_ms: number | null;
  /** Energy for a frame, modelled from processor time. */
  joules: number | null;
}
