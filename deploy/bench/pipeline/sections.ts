import { readFile } from 'node:fs/promises';
import { basename, extname } from 'node:path';
import { readAnchors } from '../../evaluate/anchors.js';
import type { Absent, Bar } from '../bars.js';

export interface SectionOptions {
  /** Of each measurement that takes a time, seconds. */
  seconds: number;
  /** A detector (.onnx) and footage of a fixed camera, for sections that measure one. */
  detector?: string;
  footage?: string;
  /** Of a detector with SSD heads: its file of anchors. */
  anchors?: string;
  /** Folders of published models, and of samples such as coco128. */
  models?: string;
  samples?: string;
  signal: AbortSignal;
  /** Of sections that take minutes: told of each step. */
  progress?: (line: string) => void;
}

/** What `npm run bench:pipeline` measures: one line a section, loaded on demand. */
export const sections: Readonly<Record<string, (options: SectionOptions) => Promise<Bar[] | Absent>>> = {
  gates: async () => (await import('./gates.js')).gateBars(),
  faces: async ({ signal }) => {
    const [{ openDoor }, { faceBars }] = await Promise.all([import('./demo-door.js'), import('./faces.js')]);
    const door = await openDoor(signal);
    return 'absent' in door ? door : faceBars(door).finally(() => door.gallery.close());
  },
  daemon: async ({ seconds, signal }) => {
    const [{ demoFaces }, { daemonBars }] = await Promise.all([import('./demo-door.js'), import('./daemon.js')]);
    const demo = await demoFaces(signal);
    return 'absent' in demo ? demo : daemonBars({ path: demo.path, ffmpeg: demo.camera.ffmpeg, seconds, signal });
  },
  gallery: async () => (await import('./gallery.js')).galleryBars(),
  cameras: async (options) => {
    const { lateFrames, stallAndFlood } = await import('./cameras.js');
    return [...await stallAndFlood(options), ...await lateFrames(options)];
  },
  detectors: async ({ models, samples, signal, progress }) => {
    if (models === undefined || samples === undefined) return { absent: 'it needs --models FOLDER and --samples FOLDER' };
    return (await import('./detectors.js')).detectorsBars({ models, samples, signal, ...(progress === undefined ? {} : { progress }) });
  },
  incremental: async ({ detector, footage, anchors: anchorFile, signal }) => {
    if (detector === undefined || footage === undefined) return { absent: 'it needs --detector FILE and --footage FILE' };
    const { incrementalBars } = await import('./incremental.js');
    const anchors = anchorFile === undefined ? {} : { anchors: await readAnchors(anchorFile) };
    return incrementalBars({ model: await readFile(detector), ...anchors, video: footage, name: basename(footage, extname(footage)), signal });
  },
};
