// The form of the login. What names a device in the address (#fleet/device) stays there.
import { byId, setText } from './dom.js';

const home = () => location.replace(`/${location.hash}`);

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

byId('login').addEventListener('submit', (event) => {
  event.preventDefault();
  void logIn();
});
// Who comes by a link of another site has a session that the browser did not show at first.
const session = await fetch('/api/session', { cache: 'no-store' }).then((answer) => answer.json()).catch(() => null);
if (session !== null && (!session.login || session.user !== null)) home();
