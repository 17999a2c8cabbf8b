/** What an input is, by its name. */

/** Cameras and streams do not end by themselves. */
export function isLive(input: string): boolean {
  return /^rtsps?:\/\//i.test(input) || /^\/dev\//.test(input);
}

/** For people to see: without user name and password. */
export function visibleInput(input: string | null): string | null {
  return input === null ? null : input.replace(/^([a-z]+:\/\/)[^/@]*@/i, '$1***@');
}
