// Calls of the API, and what this server can do.
// Paths are those of openapi/vgpo.json, so that the type check knows each answer.
import { signal } from './html.js';

/** Is the server within reach? Set by every call and by the live stream. */
export const online = signal(true);

/** Who is signed in; a server without keys calls everybody an admin. */
export const identity = signal(/** @type {Api['Identity'] | null} */ (null));
/** Does the server ask for a key that we do not have? Set by every call and by the live stream. */
export const locked = signal(false);

/** How often this page has signed in: a refusal of a request that was sent before says nothing of the new session. */
let signIns = 0;
/** Work during which no refusal locks the page. */
let held = 0;

/** What a request remembers, to be told apart from those after a sign-in. */
export const sentNow = () => signIns;

/**
 * The server refused a request: the page needs a key, unless it has just got one.
 * @param {number} sent what `sentNow` said when the request was sent
 */
export function refused(sent) {
  if (held === 0 && sent === signIns) locked.value = true;
}

/**
 * Work at whose end this page has a session: what the server refuses meanwhile does not lock the page.
 * @template T
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function signingIn(work) {
  held += 1;
  try {
    return await work();
  } finally {
    held -= 1;
    signIns += 1;
  }
}

/**
 * What a request that changes something proves itself with, in a session.
 * @returns {Record<string, string>}
 */
export const proof = () => (identity.value?.csrf ? { 'x-csrf-token': identity.value.csrf } : {});

/** A refusal of the server, with its problem+json. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {Partial<Api['Problem']>} problem
   */
  constructor(status, problem) {
    super(problem.detail || problem.title || `the server answered ${status}`);
    this.status = status;
    this.problem = problem;
    this.code = problem.code;
    this.fields = problem.errors || [];
  }
}

/** The server did not answer at all. */
export class OfflineError extends Error {
  constructor() {
    super('Server unreachable.');
  }
}

/**
 * What was thrown, as an error.
 * @param {unknown} thrown
 */
export const asError = (thrown) => (thrown instanceof Error ? thrown : new Error(String(thrown)));

/**
 * What the server says of single fields.
 * @param {unknown} error
 */
export const faultsOf = (error) => (error instanceof ApiError ? error.fields : []);

/**
 * A query string of the values that are set.
 * @param {Record<string, unknown>} values
 */
export function query(values) {
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(values)) {
    for (const one of [value].flat())
      if (one !== undefined && one !== null && one !== '') params.append(key, String(one));
  }
  const text = params.toString();
  return text ? `?${text}` : '';
}

/**
 * @typedef {{
 *   path?: Record<string, unknown> | undefined, query?: Record<string, unknown> | undefined,
 *   signal?: AbortSignal | undefined, headers?: Record<string, string>, most?: number,
 * }} AnyCall
 */

/**
 * The address of a call: the parts of its path filled in, then its query.
 * @param {string} path
 * @param {AnyCall} [call]
 */
const fill = (path, { path: parts = {}, query: values = {} } = {}) =>
  path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(String(parts[name]))) + query(values);

/**
 * The response to a request; throws ApiError or OfflineError.
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body] sent as JSON
 * @param {AnyCall} [call]
 */
export async function request(method, path, body, call = {}) {
  /** @type {Record<string, string>} */
  const headers = {
    accept: 'application/json',
    ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    ...(method === 'GET' ? {} : proof()),
    ...call.headers,
  };
  const sent = sentNow();
  let response;
  try {
    response = await fetch(fill(path, call), {
      method,
      headers,
      signal: call.signal,
      body: body === undefined ? null : JSON.stringify(body),
    });
  } catch (error) {
    if (asError(error).name === 'AbortError') throw error;
    online.value = false;
    throw new OfflineError();
  }
  online.value = true;
  if (response.ok) return response;
  if (response.status === 401) refused(sent);
  throw new ApiError(response.status, await problemOf(response));
}

/**
 * A problem, also where it comes in the form of OpenAI's API.
 * @param {Response} response
 */
async function problemOf(response) {
  try {
    const problem = await response.json();
    return problem.error ? { detail: problem.error.message, ...problem.error } : problem;
  } catch {
    return {}; // no body: the status has to do
  }
}

/** @param {Response} response */
const answerOf = (response) => (response.status === 204 ? null : response.json());

/** @param {Parameters<typeof request>} all */
const ask = async (...all) => answerOf(await request(...all));

export const get = /** @type {Client['get']} */ (async (path, call) => ask('GET', path, undefined, call));
export const post = /** @type {Client['post']} */ (async (path, body, call) => ask('POST', path, body ?? {}, call));
export const patch = /** @type {Client['patch']} */ (async (path, body, call) => ask('PATCH', path, body, call));
export const remove = /** @type {Client['remove']} */ (async (path, call) => ask('DELETE', path, undefined, call));

/** The address of something to download or to open. */
export const address = /** @type {Client['address']} */ ((path, call) => fill(path, call));

/**
 * Every entry of a paged list, at most `most`.
 * @param {string} path
 * @param {AnyCall} [call]
 */
async function pages(path, { most = 5000, ...call } = {}) {
  const found = [];
  let after;
  for (;;) {
    const page = await ask('GET', path, undefined, {
      ...call,
      query: { limit: Math.min(most, 1000), ...call.query, after },
    });
    found.push(...page.data);
    if (!page.has_more || !page.next || found.length >= most) return found;
    after = page.next;
  }
}
export const list = /** @type {Client['list']} */ (async (path, call) => pages(path, call));

// ---- What the server can do: its OpenAPI document decides, so that the page works with older and newer servers.

/**
 * The parts of the OpenAPI document that the page reads.
 * @typedef {{
 *   paths?: Record<string, Record<string, object>>,
 *   components?: { schemas?: Record<string, import('./schema.js').Schema> },
 * }} Document
 */

/** The server's OpenAPI document, once it is read. */
export const spec = signal(/** @type {Document | null} */ (null));
ask('GET', '/openapi.json').then(
  (document) => {
    spec.value = document;
  },
  () => {},
);

/** Does the server know this call? */
export const can = /** @type {Client['can']} */ ((verb, path) => Boolean(spec.value?.paths?.[path]?.[verb]));
