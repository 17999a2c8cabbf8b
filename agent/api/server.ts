import type { AddressInfo } from 'node:net';
import { serve, type HttpBindings, type ServerType } from '@hono/node-server';
import type { Hono } from 'hono';
import { AgentError } from '../errors.js';
import { nextBackoff } from '../ground/backoff.js';

export type ApiApp = Hono<{ Bindings: HttpBindings }>;

export interface ApiServerOptions {
  host: string;
  /** Port to listen on; 0 means any free port. */
  port: number;
  /** Called when the server cannot listen on the address; it then tries again. */
  onUnavailable: (error: AgentError) => void;
  onListening: () => void;
  /** Delays between attempts to listen; tests give shorter ones. */
  backoff?: { baseMs: number; capMs: number };
}

const RETRY_BASE_MS = 1000;
const RETRY_CAP_MS = 60_000;
/** Enough for the event streams, the page, and a few other programs. */
const MAX_CONNECTIONS = 64;
/** A request must be complete within these times (milliseconds), so that a slow sender does not hold the budget of bodies. */
const SERVER_LIMITS = { requestTimeout: 30_000, headersTimeout: 10_000, connectionsCheckingInterval: 2000, maxHeaderSize: 16 * 1024 };

/**
 * The HTTP server around the app. An address that is taken, or not there yet, must not keep a device from running its model: the daemon goes on
 * without the API, and the server tries again with a growing delay.
 */
export class ApiServer {
  readonly #options: ApiServerOptions;
  #server: ServerType | null = null;
  #timer: NodeJS.Timeout | undefined;
  #backoffMs = 0;
  #port = 0;
  #running = false;

  constructor(options: ApiServerOptions) {
    this.#options = options;
  }

  /** The port that the server listens on; 0 while it does not listen. */
  get port(): number {
    return this.#port;
  }

  /** Resolves after the first attempt to listen, whether or not it succeeded. Idempotent. */
  async start(app: ApiApp): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    await this.#attempt(app);
  }

  /** Stops listening, and ends the open streams and connections. Idempotent. */
  async stop(): Promise<void> {
    this.#running = false;
    clearTimeout(this.#timer);
    const server = this.#server;
    this.#server = null;
    this.#port = 0;
    if (server === null) return;
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      if ('closeAllConnections' in server) server.closeAllConnections();
    });
  }

  async #attempt(app: ApiApp): Promise<void> {
    const { host, port, onUnavailable, onListening, backoff } = this.#options;
    try {
      await this.#listen(app, host, port);
      this.#backoffMs = 0;
      onListening();
    } catch (cause) {
      if (!this.#running) return;
      const reason = cause instanceof Error ? cause.message : String(cause);
      onUnavailable(new AgentError('E_API_UNAVAILABLE', `The local API cannot listen on ${host}:${port} (${reason}); check api.host and api.port. The daemon runs without it and tries again`, { cause }));
      this.#backoffMs = nextBackoff(this.#backoffMs, Math.random(), backoff?.baseMs ?? RETRY_BASE_MS, backoff?.capMs ?? RETRY_CAP_MS);
      this.#timer = setTimeout(() => void this.#attempt(app), this.#backoffMs);
      this.#timer.unref();
    }
  }

  #listen(app: ApiApp, hostname: string, port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const server = serve({ fetch: app.fetch, hostname, port, serverOptions: SERVER_LIMITS }, (info: AddressInfo) => {
        if (!this.#running) return void server.close(() => resolve());
        this.#server = server;
        this.#port = info.port;
        resolve();
      });
      server.maxConnections = MAX_CONNECTIONS;
      server.once('error', reject);
    });
  }
}
