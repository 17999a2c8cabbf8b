import type { Role } from '../users/users.js';

export interface PageRoute {
  method: 'GET' | 'POST' | 'DELETE';
  /** As it is registered. */
  path: string;
  /** `anyone`: what a login needs before there is one. */
  needs: Role | 'anyone';
  /** What the audit log calls it, and what it was done to; `:name` is a part of the path. */
  audit?: { action: string; target: string };
}

/** What of a device's local API the page may use, below `/api/devices/:fleet/:device/local/`: anything else is not there. */
export const deviceRoutes: readonly PageRoute[] = ([
  { method: 'GET', path: 'status', needs: 'viewer' },
  { method: 'GET', path: 'snapshot.jpg', needs: 'viewer' },
  { method: 'GET', path: 'events', needs: 'viewer' },
  { method: 'GET', path: 'gallery', needs: 'viewer' },
  { method: 'GET', path: 'recordings', needs: 'viewer' },
  { method: 'GET', path: 'recordings/:recording{[0-9a-f-]+}/snapshot.jpg', needs: 'viewer' },
  { method: 'GET', path: 'recordings/:recording{[0-9a-f-]+}/clip/:frame{[0-9]+\\.jpg}', needs: 'viewer' },
  { method: 'POST', path: 'gallery', needs: 'operator', audit: { action: 'person.enroll', target: ':fleet/:device' } },
  { method: 'DELETE', path: 'gallery/:person{[0-9]+}', needs: 'operator', audit: { action: 'person.delete', target: ':fleet/:device person :person' } },
  { method: 'DELETE', path: 'recordings/:recording{[0-9a-f-]+}', needs: 'operator', audit: { action: 'recording.delete', target: ':fleet/:device recording :recording' } },
] as const satisfies readonly PageRoute[]).map((route) => ({ ...route, path: `/api/devices/:fleet/:device/local/${route.path}` }));

/** The files of the page beside its document: nothing secret, and the form of the login needs some of them. */
export const pageScripts: readonly string[] = [
  'account', 'app', 'api', 'audit', 'charts', 'compare', 'dom', 'exits', 'filters', 'finding', 'fleet-columns', 'fleet-table', 'format', 'history', 'live', 'login', 'overlay', 'panels', 'people', 'recordings', 'rollouts', 'sound', 'start', 'strip', 'theme',
].map((name) => `/${name}.js`);
const assets = [...pageScripts, '/style.css', '/icon.svg', '/vendor/uPlot.min.css', '/vendor/uPlot.esm.js'];

/** Every route of the page's server and the role that it needs. A route that is not here is refused. */
export const pageRoutes: readonly PageRoute[] = [
  ...assets.map((path): PageRoute => ({ method: 'GET', path, needs: 'anyone' })),
  { method: 'GET', path: '/login', needs: 'anyone' },
  { method: 'GET', path: '/api/session', needs: 'anyone' },
  // These write their own entries: of them it is the name that counts, before or after there is a session.
  { method: 'POST', path: '/api/login', needs: 'anyone' },
  { method: 'POST', path: '/api/logout', needs: 'anyone' },
  { method: 'POST', path: '/api/oidc/start', needs: 'anyone' },
  { method: 'GET', path: '/api/oidc/callback', needs: 'anyone' },
  { method: 'GET', path: '/', needs: 'viewer' },
  { method: 'GET', path: '/index.html', needs: 'viewer' },
  { method: 'GET', path: '/metrics', needs: 'viewer' },
  { method: 'GET', path: '/api/fleet', needs: 'viewer' },
  { method: 'GET', path: '/api/table', needs: 'viewer' },
  { method: 'GET', path: '/api/devices/:fleet/:device', needs: 'viewer' },
  { method: 'GET', path: '/api/devices/:fleet/:device/history', needs: 'viewer' },
  { method: 'GET', path: '/api/compare', needs: 'viewer' },
  { method: 'GET', path: '/api/stream', needs: 'viewer' },
  { method: 'GET', path: '/api/rollouts', needs: 'viewer' },
  { method: 'GET', path: '/api/rollouts/:id', needs: 'viewer' },
  { method: 'POST', path: '/api/rollouts/:id/:kind', needs: 'operator', audit: { action: 'rollout.:kind', target: ':id' } },
  { method: 'GET', path: '/api/audit', needs: 'operator' },
  ...deviceRoutes,
];

/** A text of `audit` with the parts of a request's path. No parameter of a route spans a `/`. */
export function filledIn(text: string, route: PageRoute, path: string): string {
  const parts = path.split('/');
  const values = new Map(route.path.split('/').flatMap((part, i) => (part.startsWith(':') ? [[part.replace(/\{.*/, '').slice(1), parts[i] ?? ''] as const] : [])));
  return text.replaceAll(/:([a-z]+)/g, (whole, name: string) => values.get(name) ?? whole);
}
