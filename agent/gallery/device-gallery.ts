/** The gallery as the daemon uses it. If its file or its key is damaged or lost, nobody is recognized, but the device keeps working. */
import { copyFileSync, existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AgentError, SternaError, toCodedError } from '../errors.js';
import type { FaultPort } from '../ground/faults.js';
import type { Gallery, GalleryKeySource, RuntimePort } from '../ground/runtime.js';
import { moveAside, volatileFault } from '../platform/database.js';

/** The faults that are cleared when the gallery can be read again. */
const CODES = ['E_GALLERY', 'E_GALLERY_KEY', 'E_GALLERY_TAMPERED', 'E_GALLERY_DAMAGED'];
/** While one of these lasts, nobody is recognized. */
const TROUBLES: readonly string[] = ['E_GALLERY_KEY', 'E_GALLERY_TAMPERED', 'E_GALLERY_DAMAGED'];

type Match = ReturnType<Gallery['match']>;
type Nearest = ReturnType<Gallery['nearest']>;

/**
 * Without its key, or with records that something else has changed, this gallery recognizes nobody and raises a fault; listing and enrolling throw
 * the same error. A damaged file is moved aside and a new one is begun; nothing is ever deleted.
 */
export class DeviceGallery implements Gallery {
  readonly #opened: Gallery | null;
  readonly #faults: FaultPort;
  #trouble: SternaError | null;
  /** Called with the number of each person who was deleted. */
  onRemoved: (personId: number) => void = () => undefined;
  /** The last search failed for a reason that may pass. */
  #failing = false;

  private constructor(opened: Gallery | null, trouble: SternaError | null, faults: FaultPort) {
    this.#opened = opened;
    this.#trouble = trouble;
    this.#faults = faults;
  }

  /** @throws any error without a code, because that is a defect of the program */
  static open(runtime: Opener, path: string, key: GalleryKeySource, faults: FaultPort): DeviceGallery {
    try {
      return new DeviceGallery(openOrRenew(runtime, path, key, faults), null, faults);
    } catch (error) {
      if (!(error instanceof SternaError)) throw error;
      faults.raise('agent', toCodedError(error));
      return new DeviceGallery(null, error, faults);
    }
  }

  enrol(...args: Parameters<Gallery['enrol']>): ReturnType<Gallery['enrol']> {
    return this.#noting(() => this.#usable().enrol(...args));
  }

  list(): ReturnType<Gallery['list']> {
    return this.#noting(() => this.#usable().list());
  }

  /** Deletes a person. This is also how an operator gets rid of a record that something else has changed. */
  remove(personId: number): boolean {
    const removed = this.#usable().remove(personId);
    if (!removed) return false;
    this.onRemoved(personId);
    this.#trouble = null; // The next face makes it check again.
    for (const code of CODES) this.#faults.clear('agent', code);
    return true;
  }

  match(embedding: Float32Array, embeddingSpaceId: string): Match {
    return this.nearest(embedding, embeddingSpaceId, 1)[0] ?? null;
  }

  /** Returns nobody while the gallery cannot be read. Frames go on, and a fault says why nobody is recognized. */
  nearest(...args: Parameters<Gallery['nearest']>): Nearest {
    if (this.#trouble !== null) return [];
    try {
      const people = this.#noting(() => this.#usable().nearest(...args));
      if (this.#failing) this.#faults.clear('agent', 'E_GALLERY');
      this.#failing = false;
      return people;
    } catch (error) {
      if (this.#trouble !== null) return [];
      if (!(error instanceof SternaError) || error.code !== 'E_GALLERY') throw error;
      this.#failing = true;
      this.#faults.raise('agent', toCodedError(error));
      return [];
    }
  }

  /**
   * Number of people who are enrolled in another embedding space (in `from`, if it is given) but not in this one; 0 while the gallery cannot be read.
   */
  foreignTo(embeddingSpaceId: string, from?: string): number {
    try {
      const people = this.list();
      const known = new Set(people.filter(({ embeddingSpaceId: space }) => space === embeddingSpaceId).map(({ name }) => name));
      return new Set(people.filter(({ embeddingSpaceId: space, name }) => space !== embeddingSpaceId && !known.has(name) && (from === undefined || space === from)).map(({ name }) => name)).size;
    } catch (error) {
      if (this.#trouble !== null) return 0;
      throw error;
    }
  }

  close(): void {
    this.#opened?.close();
  }

  #usable(): Gallery {
    if (this.#opened !== null) return this.#opened;
    throw this.#trouble ?? new AgentError('E_INTERNAL', 'The gallery is not open');
  }

  #noting<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (error instanceof SternaError && TROUBLES.includes(error.code)) {
        this.#trouble = error;
        this.#faults.raise('agent', toCodedError(error));
      }
      throw error;
    }
  }
}

type Opener = Pick<RuntimePort, 'openGallery'>;

/**
 * If the gallery is damaged, its enrolments are lost, but the device keeps working; the file is kept aside for repair. If its disk is full or
 * read-only, a copy of the gallery is used, and new enrolments go to the copy.
 */
function openOrRenew(runtime: Opener, path: string, key: GalleryKeySource, faults: FaultPort): Gallery {
  const onWarning = (warning: SternaError): void => faults.raise('agent', toCodedError(warning), 'warning');
  try {
    return runtime.openGallery(path, key, onWarning);
  } catch (error) {
    const code = causeCode(error);
    if (/^(SQLITE_(READONLY|CANTOPEN|FULL|IOERR)|ENOSPC|EDQUOT|EROFS)/.test(code) || (mayMake(key) && /^(EACCES|EPERM)$/.test(code))) {
      faults.raise('agent', toCodedError(volatileFault('The gallery', path, error)));
      return openCopy(runtime, path, key, onWarning);
    }
    if (!code.startsWith('SQLITE_CORRUPT') && code !== 'SQLITE_NOTADB') throw error;
    moveAside(path);
    const renewed = new AgentError('E_STATE_CORRUPT', `The gallery ${path} is damaged; it was moved to ${path}.corrupt, and everybody must be enrolled again`, { cause: error });
    faults.raise('agent', toCodedError(renewed));
    return runtime.openGallery(path, key, onWarning);
  }
}

/**
 * A key that could not be made in its own place is made for the copy alone. If the copy needs another key, the error stays: an empty gallery must not
 * take its place.
 */
function openCopy(runtime: Opener, path: string, key: GalleryKeySource, onWarning: (warning: SternaError) => void): Gallery {
  try {
    const folder = mkdtempSync(join(tmpdir(), 'sterna-gallery-'));
    const copy = join(folder, 'gallery.db');
    for (const suffix of ['', '-wal']) if (existsSync(`${path}${suffix}`)) copyFileSync(`${path}${suffix}`, `${copy}${suffix}`);
    return runtime.openGallery(copy, mayMake(key) ? { file: join(folder, 'gallery.key'), create: true } : key, onWarning);
  } catch (error) {
    if (error instanceof SternaError && error.code === 'E_GALLERY_KEY') throw error;
    return runtime.openGallery(':memory:', null);
  }
}

const mayMake = (key: GalleryKeySource): boolean => key.create && !existsSync(key.file);

function causeCode(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : null;
  return cause !== null && 'code' in cause ? String(cause.code) : '';
}
