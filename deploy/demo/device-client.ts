import { existsSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { z } from 'zod';
import { fetchMessageOf } from '../../runtime/errors.js';
import { DeployError } from '../errors.js';

const peopleSchema = z.object({ people: z.array(z.object({ person_id: z.number(), name: z.string(), samples: z.number() })) });
const statusSchema = z.object({ pipelines: z.array(z.object({ model: z.object({}).nullable() })) });
const errorSchema = z.object({ error: z.object({ code: z.string(), message: z.string() }) });
export type EnrolledPerson = z.infer<typeof peopleSchema>['people'][number];

const TIMEOUT_MS = 30_000;

/** The local HTTP API of one device, as far as the demonstration uses it. */
export class DeviceClient {
  readonly baseUrl: string;
  readonly #tokenFile: string | null;
  #token: string | null = null;

  /** Reads the token when it is needed: the device makes it at its first start. */
  constructor(baseUrl: string, tokenFile: string | null = null) {
    this.baseUrl = baseUrl;
    this.#tokenFile = tokenFile;
  }

  /** Bearer token of the local API; null before the device has made it, and without a file. */
  get token(): string | null {
    if (this.#token === null && this.#tokenFile !== null && existsSync(this.#tokenFile)) this.#token = readFileSync(this.#tokenFile, 'utf8').trim();
    return this.#token;
  }

  /** Whether anybody is there. */
  async answers(): Promise<boolean> {
    try {
      await fetch(`${this.baseUrl}/health`, { signal: AbortSignal.timeout(2000) }).then((answer) => answer.arrayBuffer());
      return true;
    } catch {
      return false;
    }
  }

  /** Whether a package runs: an update is committed a moment before its pipeline stands in its place. */
  async runsModel(): Promise<boolean> {
    return statusSchema.parse(await this.#request('GET', '/api/status')).pipelines.every(({ model }) => model !== null);
  }

  async people(): Promise<EnrolledPerson[]> {
    return peopleSchema.parse(await this.#request('GET', '/api/gallery')).people;
  }

  /** @throws DeployError E_DEVICE_API with the device's own code, e.g. when a picture shows no face */
  async enrol(name: string, picturePaths: readonly string[]): Promise<void> {
    const form = new FormData();
    form.set('name', name);
    for (const path of picturePaths) form.append('picture', new File([await readFile(path)], basename(path), { type: 'image/jpeg' }));
    await this.#request('POST', '/api/gallery', form);
  }

  async #request(method: string, path: string, body?: FormData): Promise<unknown> {
    let answer: Response;
    try {
      answer = await fetch(`${this.baseUrl}${path}`, {
        method, signal: AbortSignal.timeout(TIMEOUT_MS), headers: this.token === null ? {} : { authorization: `Bearer ${this.token}` }, ...(body === undefined ? {} : { body }),
      });
    } catch (cause) {
      throw new DeployError('E_DEVICE_API', `The device at ${this.baseUrl} does not answer: ${fetchMessageOf(cause)}`, { cause });
    }
    const value: unknown = await answer.json().catch(() => null);
    if (answer.ok) return value;
    const problem = errorSchema.safeParse(value);
    const { code, message } = problem.success ? problem.data.error : { code: `HTTP ${answer.status}`, message: answer.statusText };
    throw new DeployError('E_DEVICE_API', `${method} ${path}: ${code}: ${message}`, { details: { code } });
  }
}
