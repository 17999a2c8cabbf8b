import { beginLogout, request } from './api.js';
import { byId, setText } from './dom.js';

/** Who reads the page, as its document says. */
const { login, user, role } = JSON.parse(byId('session')?.textContent ?? '{"login":false,"user":null,"role":"operator"}');
/** Whether whoever reads the page may change anything. The server decides; this is for what is shown. */
export const mayChange = role === 'operator';
export const REASON = 'Only an operator may do this. You are a viewer.';
/** Attributes of a button that changes something. */
export const operatorOnly = () => (mayChange ? {} : { disabled: true, title: REASON });

/** Name, role and the button to log out; or that there is no login. */
export function showAccount() {
  byId('account').hidden = !login;
  byId('foot-access').hidden = login;
  if (!login) return;
  setText('account-name', `${user} · ${role}`);
  byId('logout').addEventListener('click', async () => {
    beginLogout();
    const answer = await request('/api/logout', { method: 'POST' }).catch(() => undefined); // then the session ends by itself
    const body = await answer?.json().catch(() => null);
    location.replace(body?.provider ?? '/login'); // the provider ends its own session, too
  });
}
