import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { getRequestListener } from '@hono/node-server';
import { Hono, type Context } from 'hono';
import { secureHeaders } from 'hono/secure-headers';
import type { Collector } from '../collector/collector.js';
import { FleetMetrics } from '../collector/fleet-metrics.js';
import type { FleetPast } from '../collector/fleet-past.js';
import { FleetTable } from '../collector/fleet-table.js';
import { SqliteFleetPast } from '../collector/sqlite-fleet-past.js';
import type { CollectorStore } from '../collector/store.js';
import { messageOf } from '../../runtime/errors.js';
import { DeployError } from '../errors.js';
import { Access, type AccessOptions, type PageEnv } from './access.js';
import { fleetApi } from './fleet-api.js';
import { deviceProxy, type DeviceGateway } from './device-proxy.js';
import { EventStreams } from './event-streams.js';
import { failure } from './failure.js';
import { historyApi } from './history-api.js';
import { allowedHosts, isLoopback, urlHost } from './hosts.js';
import { FIRST_ROWS, PageDocument } from './page-document.js';
import { rolloutApi, type RolloutSource } from './rollout-api.js';

export interface DashboardOptions {
  /** 0 takes any free port. */
  port: number;
  collector: Collector;
  store: CollectorStore;
  /** Where the past of devices is; default: in `store`. */
  past?: FleetPast;
  /** Where the local API of a device can be reached from here; null when it cannot. */
  gateway?: DeviceGateway;
  /** Roll-outs that the page shows; it leaves requests there. */
  rollouts?: RolloutSource;
  /** Address to listen on; default 127.0.0.1. Others than loopback need `tls`, and users in `access`. */
  listen?: string;
  /** Certificate chain and private key in PEM. */
  tls?: { cert: Buffer; key: Buffer };
  /** Host names, beside those of loopback and `listen`, under which the page may be asked for. */
  hosts?: readonly string[];
  access?: AccessOptions;
}

/**
 * The page and its API, on loopback unless there are TLS and users. Everything that the page loads comes from here, and a strict Content-Security-Policy
 * says so. Requests under another host name are refused: a web page elsewhere must not read a camera through DNS tricks.
 */
export class Dashboard {
  readonly #options: DashboardOptions;
  readonly #streams: EventStreams;
  readonly #table: FleetTable;
  readonly #metrics: FleetMetrics;
  readonly #access: Access;
  readonly #listen: string;
  #server: Server | null = null;

  constructor(options: DashboardOptions) {
    this.#options = options;
    this.#streams = new EventStreams(options.collector);
    this.#table = new FleetTable(options.collector, options.store);
    this.#metrics = new FleetMetrics(options.collector, this.#table);
    this.#access = new Access(options.access ?? {}, options.tls !== undefined);
    this.#listen = options.listen ?? '127.0.0.1';
  }

  get port(): number {
    const address = this.#server?.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  get url(): string {
    return `${this.#options.tls === undefined ? 'http' : 'https'}://${urlHost(this.#listen, this.#options.hosts ?? [])}:${this.port}`;
  }

  /** Whether the page needs a login. */
  get login(): boolean {
    return this.#access.required;
  }

  /** @throws DeployError E_PORT_BUSY, E_LISTEN, E_TLS */
  async start(): Promise<void> {
    if (this.#server !== null) return;
    if (!isLoopback(this.#listen) && (this.#options.tls === undefined || !this.login)) {
      throw new DeployError('E_LISTEN', `Others could use the page on ${this.#listen}: it needs ${this.#options.tls === undefined ? 'a certificate (--tls-cert and --tls-key)' : 'at least one user (sterna users add NAME --role operator), or a provider (--oidc-issuer)'} first`, { details: { listen: this.#listen } });
    }
    const app = await this.routes();
    const listener = getRequestListener(app.fetch, { overrideGlobalObjects: false });
    const server = makeServer((request, response) => void listener(request, response), this.#options.tls);
    await listen(server, this.#options.port, this.#listen);
    this.#server = server;
    this.#streams.start();
    this.#table.start();
    this.#access.start();
  }

  async stop(): Promise<void> {
    const server = this.#server;
    if (server === null) return;
    this.#server = null;
    this.#streams.stop();
    this.#table.stop();
    this.#access.stop();
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
  }

  /** All of its routes; `pageRoutes` says which role each needs. */
  async routes(): Promise<Hono<PageEnv>> {
    const { collector, store, gateway, rollouts, hosts, past = new SqliteFleetPast(store) } = this.#options;
    const app = new Hono<PageEnv>();
    const page = await PageDocument.read();
    const allowed = allowedHosts(this.#listen, hosts ?? []);
    app.use(async (context, next) => {
      const host = context.req.header('host') ?? '';
      if (!allowed(host)) return failure(context, 403, 'E_HOST', `Expected a loopback host name, or one of --allow-host, but received ${JSON.stringify(host)}`);
      return next();
    });
    app.use(secureHeaders({
      contentSecurityPolicy: {
        defaultSrc: ["'none'"], scriptSrc: ["'self'", page.inline.script], styleSrc: ["'self'", page.inline.style], imgSrc: ["'self'", 'blob:', 'data:'], connectSrc: ["'self'"],
        baseUri: ["'none'"], formAction: ["'none'"], frameAncestors: ["'none'"],
      },
      referrerPolicy: 'no-referrer',
      xFrameOptions: 'DENY',
      strictTransportSecurity: false,
    }));
    app.use(this.#access.guard());
    const document = (context: Context<PageEnv>): string => page.html(this.#table.first(FIRST_ROWS), this.#access.about(context.get('who')), Date.now());
    for (const path of ['/', '/index.html']) app.get(path, (context) => context.html(document(context), 200, { 'cache-control': this.login ? 'no-store' : 'no-cache' }));
    app.get('/login', (context) => context.html(page.login, 200, { 'cache-control': 'no-cache' }));
    for (const [path, file] of page.files) {
      app.get(path, (context) => context.body(new Uint8Array(file.data), 200, { 'content-type': file.type, 'cache-control': 'no-cache' }));
    }
    app.get('/metrics', async (context) => context.text(await this.#metrics.text(), 200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }));
    app.route('/api', this.#access.api());
    app.route('/api', fleetApi({ collector, store, past, streams: this.#streams, table: this.#table, ...(gateway === undefined ? {} : { gateway }) }));
    app.route('/api', historyApi({ store, past, table: this.#table }));
    app.route('/api/rollouts', rolloutApi(rollouts ?? (() => null)));
    if (gateway !== undefined) app.route('/', deviceProxy(gateway));
    app.notFound((context) => failure(context, 404, 'E_NOT_FOUND', `Nothing at ${context.req.path}`));
    app.onError((error, context) => failure(context, error instanceof DeployError && error.code === 'E_STORE' ? 503 : 500, error instanceof DeployError ? error.code : 'E_INTERNAL', error.message));
    return app;
  }
}

/** @throws DeployError E_TLS for a certificate or key that cannot be used */
function makeServer(listener: RequestListener, tls: DashboardOptions['tls']): Server {
  if (tls === undefined) return createServer(listener);
  try {
    return createTlsServer(tls, listener);
  } catch (cause) {
    throw new DeployError('E_TLS', `The certificate and the key cannot be used: ${messageOf(cause)}`, { cause });
  }
}

async function listen(server: Server, port: number, host: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const busy = cause.code === 'EADDRINUSE';
      reject(new DeployError('E_PORT_BUSY', busy
        ? `Port ${port} on ${host} is used by another program. Stop it, or choose another port: --port ${port + 1}`
        : `Cannot listen on ${host}, port ${port}: ${cause.message}. Choose another port with --port, or another address with --listen`, { cause, details: { port } }));
    });
    server.listen(port, host, resolve);
  });
}
