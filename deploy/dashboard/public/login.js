// The form of the login. What names a device in the address (#fleet/device) stays there.
import { byId, setText } from './dom.js';

const RETURN = 'sterna-return';
/** Why the server sent the browser back from the provider. */
const REASONS = {
  E_OIDC_AWAY: 'The provider does not answer. Local users can log in.',
  E_OIDC_STATE: 'This login was not begun here, or was used already. Begin again.',
  E_OIDC_EXPIRED: 'The login took too long. Begin again.',
  E_OIDC_REFUSED: 'The provider refused the login, or its answer cannot be believed. The audit log says why.',
  E_OIDC_ROLE: 'You have no role on this page. Whoever runs it can give you one at the provider.',
  E_LOGIN_LIMIT: 'Too many people log in at this moment. Try again.',
};

/** The way over the provider loses what names a device, so that it waits in the tab. */
function home() {
  const hash = location.hash || (sessionStorage.getItem(RETURN) ?? '');
  sessionStorage.removeItem(RETURN);
  location.replace(`/${hash.startsWith('#') ? hash : ''}`);
}

async function logIn() {
  const button = byId('login-ok');
  button.disabled = true;
  setText('login-message', '');
  try {
    const answer = await fetch('/api/login', {
      method: 'POST', cache: 'no-store', headers: { 'content-type': 'application/json' }, signal: AbortSignal.timeout(30_000),
      body: JSON.stringify({ user: byId('login-user').value.trim(), password: byId('login-password').value }),
    });
    if (answer.ok) return home();
    const body = await answer.json().catch(() => null);
    setText('login-message', body?.error?.message ?? `The server answers ${answer.status}`);
    byId('login-password').select();
  } catch (error) {
    setText('login-message', `The server does not answer (${error.message})`);
  } finally {
    button.disabled = false;
  }
}

async function logInElsewhere() {
  const button = byId('login-oidc');
  button.disabled = true;
  setText('login-message', '');
  try {
    const answer = await fetch('/api/oidc/start', { method: 'POST', cache: 'no-store', signal: AbortSignal.timeout(30_000) });
    const body = await answer.json().catch(() => null);
    if (answer.ok) {
      if (location.hash !== '') sessionStorage.setItem(RETURN, location.hash); // else that of an attempt before, if there was one
      return location.assign(body.url);
    }
    setText('login-message', body?.error?.message ?? `The server answers ${answer.status}`);
  } catch (error) {
    setText('login-message', `The server does not answer (${error.message})`);
  }
  button.disabled = false;
}

byId('login').addEventListener('submit', (event) => {
  event.preventDefault();
  void logIn();
});
// Who comes by a link of another site has a session that the browser did not show at first.
const session = await fetch('/api/session', { cache: 'no-store' }).then((answer) => answer.json()).catch(() => null);
if (session !== null && (!session.login || session.user !== null)) home();
if (session?.oidc !== undefined) {
  const button = byId('login-oidc');
  setText('login-oidc', `Log in with ${session.oidc.name}`);
  button.hidden = false;
  button.addEventListener('click', () => void logInElsewhere());
}
const reason = new URLSearchParams(location.search).get('error');
if (reason !== null) setText('login-message', Object.hasOwn(REASONS, reason) ? REASONS[reason] : 'The login failed. Begin again.');
