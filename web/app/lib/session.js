// Who is signed in, and what they may do. The session itself is in a cookie that no script can read.
import { get, identity, locked, post, remove, signingIn } from './api.js';

/** Each role may do what those before it may. @type {Api['Role'][]} */
const ROLES = ['viewer', 'user', 'admin'];

/**
 * Why whoever is signed in may not do what needs this role, here or with a thing of this project; null: they may.
 * @param {Api['Role']} [needed]
 * @param {string} [project]
 */
export function refusal(needed = 'user', project) {
  const me = identity.value;
  // Without an answer the server decides.
  if (!me) return null;
  if (ROLES.indexOf(me.role) < ROLES.indexOf(needed)) {
    const own = me.role === 'viewer' ? 'Your key is read-only (viewer).' : `The role of your key is ${me.role}.`;
    return `${own} This needs the ${needed} role.`;
  }
  if (project !== undefined && me.role !== 'admin' && project !== me.project)
    return `This belongs to the project “${project}”. Your key may change things in “${me.project}” only.`;
  return null;
}

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

/**
 * The first key, an admin's, from which on the server asks for keys; this page is signed in with it before anything
 * else is read.
 * @param {string} name
 * @returns {Promise<Api['CreatedKey'] & { fault?: unknown }>} `fault`: why the page could not sign in
 */
export function protect(name) {
  return signingIn(async () => {
    const made = await post('/v1/keys', { name, role: 'admin' });
    try {
      identity.value = await post('/v1/session', { key: made.secret ?? '' });
      return made;
    } catch (fault) {
      return { ...made, fault };
    }
  });
}

export async function signOut() {
  await remove('/v1/session');
  identity.value = null;
  locked.value = true;
  location.reload();
}
