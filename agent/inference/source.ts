/** What an input is, by its name. */
import { isSoundInput } from '../../runtime/media/index.js';

export { isSoundInput };

/** Cameras, microphones and streams do not end by themselves. */
export function isLive(input: string): boolean {
  const bare = input.replace(/^sound:/i, '');
  return /^(rtsp|http)s?:\/\//i.test(bare) || /^\/dev\//.test(bare) || /^(alsa|pulse):/i.test(bare);
}
