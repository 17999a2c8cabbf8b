/** `scheme://` and everything up to the last `@` of the same word: user and password (RFC 3986, section 3.2.1), also unescaped ones. */
const USER_INFO = /([a-z][a-z0-9+.-]{0,20}:\/\/)[^\s"'<>]*@/gi;

/**
 * The text with `***` in place of user names and passwords in addresses: brokers and cameras are shown and logged without them.
 * Rather too much is hidden than too little: a path with an `@` in it loses what stands before.
 */
export function redact(text: string): string {
  return text.replace(USER_INFO, '$1***@');
}
