/** Decides by the name of an input what kind it is. */
import { isSoundInput } from '../../runtime/media/index.js';

export { isSoundInput };

/** Whether an input is live. Cameras, microphones and streams are: they do not end by themselves. */
export function isLive(input: string): boolean {
  const bare = input.replace(/^sound:/i, '');
  return /^(rtsp|http)s?:\/\//i.test(bare) || /^\/dev\//.test(bare) || /^(alsa|pulse):/i.test(bare);
}
