/**
 * Who may use the page: local users in one file (mode 0600), with passwords as scrypt hashes. The file is small and read again when it changes, so that a user who
 * was removed, or whose password or role changed, is out within a second.
 */
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { writeFileAtomic } from '../../runtime/atomic-file.js';
import { messageOf } from '../../runtime/errors.js';
import { DeployError } from '../errors.js';
import { handoverFolder } from '../publish/handover.js';

export const roles = ['viewer', 'operator'] as const;
/** A viewer reads; an operator also changes. */
export type Role = (typeof roles)[number];

/** One of the settings that OWASP's Password Storage Cheat Sheet calls equally strong (N = 2^17, p = 1 needs 128 MiB for each attempt, this 32 MiB). */
const SCRYPT = { n: 2 ** 15, r: 8, p: 3 } as const;
const HASH_BYTES = 32;
/** NIST SP 800-63B asks for at least 8 characters; there is no second factor here. */
export const PASSWORD_LENGTH = { least: 12, most: 256 } as const;
const NAME = /^[a-z0-9][a-z0-9._-]{0,31}$/;

const base64 = (bytes: number): z.ZodString => z.string().refine((text) => Buffer.from(text, 'base64').length === bytes && Buffer.from(text, 'base64').toString('base64') === text, `expected ${bytes} bytes in base64`);
const userSchema = z.strictObject({
  name: z.string().regex(NAME),
  role: z.enum(roles),
  // Bounds: a damaged file must not make an attempt take minutes or gigabytes.
  scrypt: z.strictObject({ n: z.literal([2 ** 14, 2 ** 15, 2 ** 16, 2 ** 17]), r: z.literal(8), p: z.int().min(1).max(5), salt: base64(16), hash: base64(HASH_BYTES) }),
});
const fileSchema = z.strictObject({ schema_version: z.literal(1), users: z.array(userSchema).max(1000) })
  .refine(({ users }) => new Set(users.map(({ name }) => name)).size === users.length, 'a name is there twice');
export type User = z.infer<typeof userSchema>;

/** `users.json` in the folder of this user's fleets. */
export const usersFile = (): string => join(handoverFolder(), 'users.json');

/** @returns no users for a file that does not exist. @throws DeployError E_USERS for one that is damaged, or that others may read */
export function readUsers(path: string): User[] {
  try {
    const { mode } = statSync(path);
    if (process.platform !== 'win32' && (mode & 0o077) !== 0) throw new DeployError('E_USERS', `Others may use the file ${path}: run chmod 600 ${path}`);
    return fileSchema.parse(JSON.parse(readFileSync(path, 'utf8'))).users;
  } catch (cause) {
    if (cause instanceof DeployError) throw cause;
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new DeployError('E_USERS', `The users cannot be read from ${path}: ${cause instanceof z.ZodError ? z.prettifyError(cause) : messageOf(cause)}`, { cause });
  }
}

async function writeUsers(path: string, users: readonly User[]): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await writeFileAtomic(path, `${JSON.stringify({ schema_version: 1, users }, null, 1)}\n`, 0o600);
  } catch (cause) {
    throw new DeployError('E_USERS', `The users cannot be written to ${path}: ${messageOf(cause)}`, { cause });
  }
}

/** @throws DeployError E_USERS for a name that is taken or malformed, or a password that is too short or too long */
export async function addUser(path: string, { name, role, password }: { name: string; role: Role; password: string }): Promise<void> {
  if (!NAME.test(name)) throw new DeployError('E_USERS', `Expected a name of 1 to 32 lower-case letters, digits, dots, dashes and underlines but received ${JSON.stringify(name)}`);
  const users = readUsers(path);
  if (users.some((user) => user.name === name)) throw new DeployError('E_USERS', `There is a user ${name} already; \`sterna users passwd\` and \`sterna users role\` change it`);
  const user = { name, role, scrypt: await hashPassword(password) };
  await writeUsers(path, [...users, user].sort((a, b) => (a.name < b.name ? -1 : 1)));
}

/** Changes the password or the role of a user. @throws DeployError E_USERS */
export async function changeUser(path: string, name: string, change: { password: string } | { role: Role }): Promise<void> {
  const users = readUsers(path);
  const user = requireUser(users, name);
  const next = 'role' in change ? { ...user, role: change.role } : { ...user, scrypt: await hashPassword(change.password) };
  await writeUsers(path, users.map((known) => (known === user ? next : known)));
}

/** @throws DeployError E_USERS */
export async function removeUser(path: string, name: string): Promise<void> {
  const users = readUsers(path);
  const user = requireUser(users, name);
  await writeUsers(path, users.filter((known) => known !== user));
}

function requireUser(users: readonly User[], name: string): User {
  const user = users.find((known) => known.name === name);
  if (user === undefined) throw new DeployError('E_USERS', `There is no user ${JSON.stringify(name)}; \`sterna users list\` names them`);
  return user;
}

async function hashPassword(password: string): Promise<User['scrypt']> {
  const { length } = password.normalize('NFKC');
  if (length < PASSWORD_LENGTH.least || length > PASSWORD_LENGTH.most) throw new DeployError('E_USERS', `Expected a password of ${PASSWORD_LENGTH.least} to ${PASSWORD_LENGTH.most} characters but received ${length}`);
  const salt = randomBytes(16);
  return { ...SCRYPT, salt: salt.toString('base64'), hash: (await derive(password, { ...SCRYPT, salt })).toString('base64') };
}

/** What an unknown name is compared with, so that its attempt takes as long as one of a known name. */
const NOBODY: User['scrypt'] = { ...SCRYPT, salt: randomBytes(16).toString('base64'), hash: randomBytes(HASH_BYTES).toString('base64') };

/** Whether the password is that of the user; of an unknown user (undefined) it never is, after the same work. */
export async function passwordFits(user: User | undefined, password: string): Promise<boolean> {
  const { n, r, p, salt, hash } = user?.scrypt ?? NOBODY;
  const derived = await derive(password, { n, r, p, salt: Buffer.from(salt, 'base64') });
  return timingSafeEqual(derived, Buffer.from(hash, 'base64')) && user !== undefined;
}

function derive(password: string, { n, r, p, salt }: { n: number; r: number; p: number; salt: Buffer }): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(password.normalize('NFKC'), salt, HASH_BYTES, { N: n, r, p, maxmem: 256 * n * r }, (error, key) => { if (error === null) resolve(key); else reject(error); });
  });
}

/** The users of a server that runs: read again whenever the file is another one. Whatever cannot be read lets nobody in. */
export class UserDirectory {
  readonly #path: string;
  #users: User[];
  #stamp: string;
  #required: boolean;

  /** @throws DeployError E_USERS: a server must not begin with a damaged file, which would look like one without users */
  constructor(path: string) {
    this.#path = path;
    this.#stamp = this.#stampNow();
    this.#users = readUsers(path);
    this.#required = this.#users.length > 0;
  }

  /** Whether a login is needed. It stays so until the server ends, even if the last user is removed. */
  get required(): boolean {
    this.#refresh();
    return this.#required;
  }

  find(name: string): User | undefined {
    this.#refresh();
    return this.#users.find((user) => user.name === name);
  }

  #refresh(): void {
    const stamp = this.#stampNow();
    if (stamp === this.#stamp) return;
    this.#stamp = stamp;
    try {
      this.#users = readUsers(this.#path);
      this.#required ||= this.#users.length > 0;
    } catch {
      this.#users = [];
      this.#required = true;
    }
  }

  #stampNow(): string {
    const found = statSync(this.#path, { throwIfNoEntry: false, bigint: true });
    return found === undefined ? 'none' : `${found.ino}/${found.size}/${found.mtimeNs}/${found.ctimeNs}`;
  }
}
