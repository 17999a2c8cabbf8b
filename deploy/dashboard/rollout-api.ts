import { Hono } from 'hono';
import { DeployError } from '../errors.js';
import { requestKinds, type Rollout, type RolloutStore } from '../rollout/store.js';
import { deviceView, rolloutView, type DeviceView } from '../rollout/view.js';
import type { PageEnv } from './access.js';
import { failure } from './failure.js';

/** The store, once there is one: the server of a fleet makes it with its first start. */
export type RolloutSource = () => RolloutStore | null;

const SHOWN = 20;
const DEVICES = 500;
/** Devices that an operator looks for come first. */
const ORDER: Readonly<Record<DeviceView['group'], number>> = { failed: 0, running: 1, away: 2, returned: 3, succeeded: 4, waiting: 5 };

/** `GET rollouts` (newest first), `GET rollouts/{id}` (with its devices), and `POST rollouts/{id}/pause|resume|abort`, which leaves a request for the server of the fleet. */
export function rolloutApi(source: RolloutSource): Hono<PageEnv> {
  const api = new Hono<PageEnv>();
  api.get('/', (context) => {
    const store = source();
    return context.json({ now_ms: Date.now(), rollouts: store === null ? [] : store.list().slice(0, SHOWN).map((rollout) => withRequest(store, rollout)) });
  });
  api.get('/:id', (context) => {
    const store = source();
    const rollout = store?.find(context.req.param('id')) ?? null;
    if (store === null || rollout === null) return failure(context, 404, 'E_NOT_FOUND', 'There is no such roll-out');
    const devices = store.devices(rollout.id).map(deviceView).sort((a, b) => ORDER[a.group] - ORDER[b.group] || a.wave - b.wave);
    return context.json({ ...rolloutView(store, rollout), devices: devices.slice(0, DEVICES), devices_total: devices.length });
  });
  api.post('/:id/:kind', (context) => {
    const store = source();
    const kind = requestKinds.find((known) => known === context.req.param('kind'));
    if (store === null || kind === undefined) return failure(context, 404, 'E_NOT_FOUND', 'Nothing at this address');
    try {
      store.request(context.req.param('id'), { kind, by: context.get('who').user ?? 'the page' }, Date.now());
      return context.json({ requested: kind }, 202);
    } catch (error) {
      if (!(error instanceof DeployError)) throw error;
      return failure(context, 409, error.code, error.message);
    }
  });
  return api;
}

function withRequest(store: RolloutStore, rollout: Rollout): object {
  const next = store.nextRequest(rollout.id);
  return { ...rolloutView(store, rollout), requested: next?.kind ?? null, requested_by: next?.by ?? null };
}
