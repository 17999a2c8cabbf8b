import { mayChange } from './account.js';
import { getJson } from './api.js';
import { byId, fill, h, setText } from './dom.js';
import { NONE, time } from './format.js';

const REFRESH_MS = 5000;

/** The audit log: who did what, read while it is open. Operators alone have it. */
export function showAudit() {
  if (!mayChange) return;
  const details = byId('audit-log');
  let timer = null;
  const load = async () => {
    clearTimeout(timer);
    if (!details.open) return;
    try {
      const { kept, entries } = await getJson('/api/audit');
      setText('audit-note', kept ? `the newest ${entries.length}` : 'this server keeps none');
      fill('audit-rows', entries.map(row));
    } catch (error) {
      setText('audit-note', `It cannot be read: ${error.message}`);
    }
    timer = setTimeout(() => void load(), REFRESH_MS);
  };
  byId('audit').hidden = false;
  details.addEventListener('toggle', () => void load());
}

function row({ time_ms: at, user, address, action, target, result }) {
  const when = new Date(at);
  return h('tr', { class: result === 'ok' ? null : 'refused' },
    h('td', {}, h('time', { datetime: when.toISOString() }, `${when.toLocaleDateString()} ${time(at)}`)),
    h('th', { scope: 'row' }, user ?? 'no login'), h('td', {}, address), h('td', {}, action), h('td', {}, target || NONE), h('td', {}, result));
}
