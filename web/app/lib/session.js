// Who is signed in. The session itself is in a cookie that no script can read.
import { get, identity, locked, post, remove } from './api.js';

/** Asks the server who we are; a server that asks for keys answers with a refusal, which locks the page. */
export async function learn() {
  identity.value = await get('/v1/session');
}

/**
 * Exchanges a key for a session; the page begins anew with what the key may see.
 * @param {string} key
 */
export async function signIn(key) {
  await post('/v1/session', { key });
  location.reload();
}

export async function signOut() {
  await remove('/v1/session');
  identity.value = null;
  locked.value = true;
  location.reload();
}
