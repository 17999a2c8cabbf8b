import { spawnSync } from 'node:child_process';
import { findFfmpeg } from '../../../runtime/media/ffmpeg.js';

/** Path of ffmpeg, or null where there is none: tests that need it skip by name. */
export const ffmpeg: string | null = (() => {
  try {
    return findFfmpeg();
  } catch {
    return null;
  }
})();

/** Makes a small video from ffmpeg's test pattern. */
export function makeVideo(path: string, ...options: string[]): void {
  const args = ['-y', '-f', 'lavfi', '-i', 'testsrc=size=64x48:rate=10:duration=2', '-g', '1', ...options, path];
  const { status, stderr } = spawnSync(ffmpeg ?? 'ffmpeg', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
}
