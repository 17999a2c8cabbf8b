/** What an input is, by its name. */

/** Cameras and streams do not end by themselves. */
export function isLive(input: string): boolean {
  return /^(rtsp|http)s?:\/\//i.test(input) || /^\/dev\//.test(input);
}
