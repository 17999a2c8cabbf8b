/** The bearer token of the local API (RFC 6750, section 2.1). Whoever has it may see faces and names, and change what the device knows. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AgentError } from '../errors.js';

/** Name of the token's file in the state folder. The file has the mode 0600 and is made at the first start. */
export const TOKEN_FILE = 'api.token';
const TOKEN_BYTES = 32;
const SHORTEST_TOKEN = 16;

/**
 * The token from `tokenFile` (a systemd credential, or `api.token_file`), or else from `api.token` in the state folder, which is made when it is not there. On a disk
 * that cannot be written the token lives in memory alone, and `onUnwritten` says so.
 * @throws AgentError E_CONFIG for a `tokenFile` that cannot be read, or a token of fewer than 16 characters
 */
export function loadToken(options: { stateDir: string; tokenFile?: string | undefined }, onUnwritten: (error: AgentError) => void): string {
  const { stateDir, tokenFile } = options;
  if (tokenFile !== undefined) return checked(tokenFile, read(tokenFile));
  const path = join(stateDir, TOKEN_FILE);
  try {
    return checked(path, readFileSync(path, 'utf8'));
  } catch (error) {
    if (error instanceof AgentError) throw error;
  }
  const token = randomBytes(TOKEN_BYTES).toString('base64url');
  try {
    writeFileSync(path, `${token}\n`, { mode: 0o600, flag: 'w' });
  } catch (cause) {
    onUnwritten(new AgentError('E_STATE', `The token of the local API cannot be kept in ${path}, so nobody can use the parts of the API that need it`, { cause }));
  }
  return token;
}

/** Compares hashes in constant time, so that the time which an answer takes tells nothing about the token. */
export function authorized(header: string | undefined, token: string): boolean {
  const given = /^Bearer ([\x21-\x7e]{1,512})$/i.exec(header ?? '')?.[1];
  return given !== undefined && timingSafeEqual(sha256(given), sha256(token));
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new AgentError('E_CONFIG', `The token of the local API cannot be read from ${path} (api.token_file, or the credential api.token): ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

function checked(path: string, text: string): string {
  const token = text.trim();
  if (token.length < SHORTEST_TOKEN) throw new AgentError('E_CONFIG', `The token in ${path} has ${token.length} characters; expected at least ${SHORTEST_TOKEN}. Delete the file to get a new one`);
  return token;
}

const sha256 = (text: string): Buffer => createHash('sha256').update(text).digest();
