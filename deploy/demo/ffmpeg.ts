import { findFfmpeg } from '../../runtime/media/ffmpeg.js';
import { RuntimeError } from '../../runtime/errors.js';
import { DeployError } from '../errors.js';
import { fetchPackage, type FetchOptions } from './assets.js';
import { ffmpegBuilds } from './pins.js';

/**
 * ffmpeg of this machine, or else npm's static build, fetched into the cache.
 * @throws DeployError E_FFMPEG where npm has none either, E_NPM, E_ASSET
 */
export async function ensureFfmpeg(options: FetchOptions): Promise<string> {
  try {
    return findFfmpeg();
  } catch (cause) {
    if (!(cause instanceof RuntimeError) || cause.code !== 'E_FFMPEG_MISSING') throw cause;
    const platform = `${process.platform}-${process.arch}`;
    const build = ffmpegBuilds[platform];
    if (build === undefined) {
      throw new DeployError('E_FFMPEG', `ffmpeg is not in PATH, and npm has no build for ${platform}. Install ffmpeg (https://ffmpeg.org/download.html), then run the same command again.`, { cause });
    }
    const { ffmpeg } = await fetchPackage(build, options);
    if (ffmpeg === undefined) throw new DeployError('E_FFMPEG', `${build.name} has no ffmpeg`);
    return ffmpeg;
  }
}
