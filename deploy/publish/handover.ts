/**
 * The folder that `sterna publish --detach` and a running `sterna fleet serve` share: packages under their digests, which the server reads when a
 * device asks for one, and a Unix socket that tells whether a server runs, and for which broker. Nothing else passes between the two.
 */
import { createServer, connect, type Server } from 'node:net';
import { chmod, mkdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { requireId } from '../../agent/contracts/index.js';
import { DeployError } from '../errors.js';
import { loadPackage, type HeldPackage } from './packages.js';

const helloSchema = z.object({
  fleet: z.string(), broker: z.string(), pid: z.number(),
  /** Whether it tells devices what to run as roll-outs say. */
  rollouts: z.boolean().default(false),
});
export type Hello = z.infer<typeof helloSchema>;

const ANSWER_TIMEOUT_MS = 3000;
/** Linux: 108 bytes with the final zero. */
const MAX_SOCKET_PATH = 107;

/** `STERNA_FLEET_DIR`, else a folder of this user's state. */
export function handoverFolder(env: NodeJS.ProcessEnv = process.env): string {
  return env.STERNA_FLEET_DIR ?? join(env.XDG_STATE_HOME ?? join(homedir(), '.local', 'state'), 'sterna', 'fleet');
}

/** Packages by digest in one folder. */
export class PackageStore {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  #path(digest: string): string {
    return join(this.folder, `${digest}.sterna`);
  }

  /** Written beside its place and renamed: a reader never sees half a package. @throws DeployError E_HANDOVER */
  async put({ digest, bytes }: HeldPackage): Promise<void> {
    const temporary = join(this.folder, `${digest}.${process.pid}.part`);
    try {
      await mkdir(this.folder, { recursive: true, mode: 0o700 });
      await writeFile(temporary, bytes, { mode: 0o600 });
      await rename(temporary, this.#path(digest));
    } catch (cause) {
      await rm(temporary, { force: true }).catch(() => undefined); // the write failed; why is what matters
      throw folderError(this.folder, cause);
    }
  }

  /** Checked completely. Null when it is not there, or is not what its name says. */
  async find(digest: string): Promise<HeldPackage | null> {
    const there = await stat(this.#path(digest)).catch(() => null);
    if (there === null) return null;
    const held = await loadPackage(this.#path(digest)).catch(() => null);
    return held?.digest === digest ? held : null;
  }
}

/** Tells whoever asks in this folder that a server of this fleet runs. One for each folder and fleet. */
export class HandoverPoint {
  readonly #folder: string;
  readonly #hello: Hello;
  #server: Server | null = null;

  constructor(folder: string, { fleet, broker, rollouts = false }: { fleet: string; broker: string; rollouts?: boolean }) {
    this.#folder = folder;
    this.#hello = { fleet: requireId('fleet', fleet), broker: brokerKey(broker), pid: process.pid, rollouts };
  }

  /** @throws DeployError E_HANDOVER when another one runs, or the folder cannot be used */
  async start(): Promise<void> {
    const path = socketPath(this.#folder, this.#hello.fleet);
    const other = await askHandover(this.#folder, this.#hello.fleet);
    if (other !== null) throw new DeployError('E_HANDOVER', `Process ${other.pid} already serves fleet ${other.fleet} from ${this.#folder}. Stop it, or choose another folder with --store`);
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.end(`${JSON.stringify(this.#hello)}\n`);
    });
    try {
      await mkdir(this.#folder, { recursive: true, mode: 0o700 });
      await rm(path, { force: true }); // of a process that was killed
      await new Promise<void>((resolve, reject) => server.once('error', reject).listen(path, resolve));
      await chmod(path, 0o600);
    } catch (cause) {
      server.close();
      throw folderError(this.#folder, cause);
    }
    this.#server = server;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    if (server !== null) await new Promise<void>((resolve) => server.close(() => resolve()));
  }
}

/** What the server of this fleet says of itself, or null when none runs. @throws DeployError E_HANDOVER for a folder with too long a name */
export async function askHandover(folder: string, fleet: string): Promise<Hello | null> {
  const path = socketPath(folder, fleet);
  return new Promise((resolve) => {
    let text = '';
    const socket = connect(path);
    socket.setTimeout(ANSWER_TIMEOUT_MS, () => socket.destroy());
    socket.on('data', (chunk) => { text += chunk.toString('utf8').slice(0, 4096); });
    socket.on('error', () => undefined);
    socket.once('close', () => resolve(parseHello(text)));
  });
}

/**
 * Gives a package to the running server of a fleet.
 * @throws DeployError E_HANDOVER when none runs, or it serves another broker, or it runs no roll-outs and shall
 */
export async function handOver(folder: string, target: { fleet: string; broker: string; rollouts?: boolean }, held: HeldPackage): Promise<void> {
  const hello = await askHandover(folder, target.fleet);
  const start = `sterna fleet serve --broker ${brokerKey(target.broker)} --fleet ${target.fleet}${target.rollouts === true ? ' --repository FOLDER' : ''}`;
  if (hello === null) throw new DeployError('E_HANDOVER', `No server of fleet ${target.fleet} runs with the folder ${folder}. Start one (${start})${target.rollouts === true ? '' : ', or publish without --detach'}`);
  if (hello.broker !== brokerKey(target.broker)) {
    throw new DeployError('E_HANDOVER', `The running server of fleet ${target.fleet} uses the broker ${hello.broker}, not ${brokerKey(target.broker)}. Start another one with its own --store: ${start} --store FOLDER`);
  }
  if (target.rollouts === true && !hello.rollouts) throw new DeployError('E_HANDOVER', `The running server of fleet ${target.fleet} only sends blocks, because it has no repository to sign with. Stop process ${hello.pid}, and start it with one: ${start}`);
  await new PackageStore(folder).put(held);
}

function parseHello(text: string): Hello | null {
  try {
    return helloSchema.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

/** The address without user, password and path, so that two spellings of one broker are equal. */
export function brokerKey(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : null;
  return parsed === null ? url : `${parsed.protocol}//${parsed.host}`;
}

function socketPath(folder: string, fleet: string): string {
  const path = join(folder, `${fleet}.sock`);
  if (Buffer.byteLength(path) <= MAX_SOCKET_PATH) return path;
  throw new DeployError('E_HANDOVER', `Expected a path of at most ${MAX_SOCKET_PATH} bytes for the socket, but ${path} has ${Buffer.byteLength(path)}: choose a shorter folder with --store`);
}

function folderError(folder: string, cause: unknown): DeployError {
  return new DeployError('E_HANDOVER', `The folder ${folder} cannot be used: ${cause instanceof Error ? cause.message : String(cause)}. Choose another one with --store`, { cause, details: { folder } });
}
