/** Carries out the plan of a package for people whom another embedder enrolled, and reports whoever is still missing. */
import { toCodedError } from '../errors.js';
import type { DeviceGallery } from '../gallery/device-gallery.js';
import type { EnrolmentPictures } from '../gallery/pictures.js';
import { reEmbed } from '../gallery/re-embed.js';
import type { FaultPort } from '../ground/faults.js';
import type { RuntimePort } from '../ground/runtime.js';
import type { PipelineSlot } from '../inference/pipeline-slot.js';
import { diskCodes } from '../ota/failure.js';
import { diskTrouble } from '../platform/database.js';
import type { ReportedPipeline } from '../report/reported.js';

export interface GalleryPlanParts {
  runtime: RuntimePort;
  gallery: DeviceGallery;
  /** Null when the configuration keeps no pictures. */
  pictures: EnrolmentPictures | null;
  slot: PipelineSlot;
  faults: FaultPort;
  /** Milliseconds until it is tried again on a disk that takes nothing. */
  retryMs: number;
  onChange: () => void;
}

export class GalleryPlan {
  readonly #parts: GalleryPlanParts;
  #report: ReportedPipeline['gallery'] = null;
  #again: NodeJS.Timeout | undefined;

  constructor(parts: GalleryPlanParts) {
    this.#parts = parts;
  }

  /** What became of people whom another embedder enrolled; null when there were none. */
  get report(): ReportedPipeline['gallery'] {
    return this.#report;
  }

  stop(): void {
    clearTimeout(this.#again);
  }

  /** Begins for the package that runs now. Nothing that goes wrong disturbs its frames. */
  begin(): void {
    const { gallery, slot, faults } = this.#parts;
    clearTimeout(this.#again);
    const space = slot.running?.model.pipeline.embeddingSpaceId ?? null;
    const carry = async (): Promise<void> => this.#carryOver(space === null ? 0 : gallery.foreignTo(space));
    void carry().catch((error: unknown) => faults.raise('pipeline', toCodedError(error), 'warning'));
  }

  /** @param before how many people were missing when this package began */
  async #carryOver(before: number): Promise<void> {
    const { gallery, pictures, slot, faults, runtime } = this.#parts;
    const model = slot.running?.model;
    const space = model?.pipeline.embeddingSpaceId ?? null;
    if (before > 0 && model?.galleryPlan === 're-embed' && pictures !== null) {
      try {
        // This runs beside the frames. A frame waits at most for as long as one picture takes.
        await slot.use(({ model: { pipeline } }) => reEmbed({ runtime, gallery, pictures, pipeline }));
        for (const code of diskCodes) faults.clear('pipeline', code);
      } catch (error) {
        this.#later(error, before);
      }
    }
    const missing = space === null ? 0 : gallery.foreignTo(space);
    this.#report = before === 0 || model?.galleryPlan == null ? null : { plan: model.galleryPlan, re_embedded: before - missing, to_enroll: missing };
    if (missing > 0) {
      this.#parts.faults.raise('pipeline', { code: 'E_GALLERY_SPACE', message: `${missing} enrolled people belong to another embedder and must be enrolled again${before > missing ? `; ${before - missing} were enrolled again from their pictures` : ''}` }, 'warning');
    } else {
      this.#parts.faults.clear('pipeline', 'E_GALLERY_SPACE');
    }
    this.#parts.onChange();
  }

  /** A disk that takes nothing may take something later, and what was done until then stays. @throws any other error */
  #later(error: unknown, before: number): void {
    const { faults, retryMs, slot } = this.#parts;
    const trouble = diskTrouble(error);
    if (trouble === null) throw error;
    faults.raise('pipeline', toCodedError(trouble));
    const { running } = slot;
    this.#again = setTimeout(() => {
      if (slot.running === running) void this.#carryOver(before).catch((again: unknown) => faults.raise('pipeline', toCodedError(again), 'warning'));
    }, retryMs);
  }
}
