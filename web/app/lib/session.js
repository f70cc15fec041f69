// Who is signed in. The session itself stands in a cookie that no script can read.
import { call, get, identity, locked } from './api.js';

/** Asks the server who we are; a server that asks for keys answers with a refusal, which locks the page. */
export async function learn() {
  identity.value = await get('/v1/session');
}

/** Exchanges a key for a session; the page begins anew with what the key may see. */
export async function signIn(key) {
  await call('/v1/session', { method: 'POST', body: { key } });
  location.reload();
}

export async function signOut() {
  await call('/v1/session', { method: 'DELETE' });
  identity.value = null;
  locked.value = true;
  location.reload();
}
