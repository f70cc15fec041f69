// Calls of the API, and what this server can do.
import { signal } from './html.js';

/** Is the server within reach? Set by every call and by the live stream. */
export const online = signal(true);

/** Who is signed in: {key_id, role, project, csrf}; a server without keys calls everybody an admin. */
export const identity = signal(null);
/** Does the server ask for a key that we do not have? Set by every call and by the live stream. */
export const locked = signal(false);

/** What a request that changes something proves itself with, in a session. */
export const proof = () => (identity.value?.csrf ? { 'x-csrf-token': identity.value.csrf } : {});

/** A refusal of the server, with its problem+json. */
export class ApiError extends Error {
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
    super('The server does not answer.');
  }
}

/** The response of a call; throws ApiError or OfflineError. */
export async function call(path, { method = 'GET', body, headers = {}, signal: abort } = {}) {
  const json = body !== undefined && !(body instanceof Blob) && !(body instanceof FormData);
  let response;
  try {
    response = await fetch(path, {
      method,
      signal: abort,
      headers: {
        ...(json ? { 'content-type': 'application/json' } : {}),
        ...(method === 'GET' ? {} : proof()),
        accept: 'application/json',
        ...headers,
      },
      body: json ? JSON.stringify(body) : body,
    });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    online.value = false;
    throw new OfflineError();
  }
  online.value = true;
  if (response.ok) return response;
  if (response.status === 401) locked.value = true;
  let problem = {};
  try {
    problem = await response.json();
  } catch {
    /* no body: the status has to do */
  }
  throw new ApiError(response.status, problem.error ? { detail: problem.error.message, ...problem.error } : problem);
}

export async function get(path, options) {
  return (await call(path, options)).json();
}

export async function send(method, path, body, options = {}) {
  const response = await call(path, { ...options, method, body });
  return response.status === 204 ? null : response.json();
}

export const post = (path, body = {}, options) => send('POST', path, body, options);

/** Every entry of a paged list, at most `most`. */
export async function list(path, most = 5000, options) {
  const url = new URL(path, location.origin);
  if (!url.searchParams.has('limit')) url.searchParams.set('limit', String(Math.min(most, 1000)));
  const found = [];
  for (;;) {
    const page = await get(url.pathname + url.search, options);
    found.push(...page.data);
    if (!page.has_more || !page.next || found.length >= most) return found;
    url.searchParams.set('after', page.next);
  }
}

/** A query string of the values that are set. */
export function query(values) {
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(values))
    if (value !== undefined && value !== null && value !== '') params.set(key, value);
  const text = params.toString();
  return text ? `?${text}` : '';
}

// ---- What the server can do: its OpenAPI document decides, so that the page works with older and newer servers.

let asked = null;

/** The OpenAPI document, read once. */
export function document_() {
  asked ??= get('/openapi.json').catch((error) => {
    asked = null;
    throw error;
  });
  return asked;
}

export const spec = signal(null);
document_().then(
  (document) => {
    spec.value = document;
  },
  () => {},
);

const operation = (method, path) => spec.value?.paths?.[path]?.[method.toLowerCase()];

/** Does the server know this call? */
export const can = (method, path) => Boolean(operation(method, path));

/** Does this call take that query parameter? */
export const takes = (method, path, name) =>
  Boolean(operation(method, path)?.parameters?.some((parameter) => parameter.name === name));

/** A named schema of the document. */
export const schema = (name) => spec.value?.components?.schemas?.[name];
