// Addresses: `#/runs/run_…/samples?step=8`. The part after `#` never reaches the server.
import { signal } from './html.js';

function read() {
  const [path, search = ''] = (location.hash.replace(/^#/, '') || '/').split('?');
  const parts = path
    .split('/')
    .filter(Boolean)
    .map((part) => {
      try {
        return decodeURIComponent(part);
      } catch {
        return part;
      }
    });
  return { parts, query: Object.fromEntries(new URLSearchParams(search)) };
}

export const route = signal(read());
addEventListener('hashchange', () => {
  route.value = read();
});

/**
 * `#/runs/x?y=z` of parts and query.
 * @param {string[]} parts
 * @param {Record<string, unknown>} [query]
 */
export function href(parts, query = {}) {
  const path = parts.map((part) => encodeURIComponent(part)).join('/');
  const set = Object.entries(query)
    .filter(([, value]) => value !== undefined && value !== null && value !== '')
    .map(([key, value]) => [key, String(value)]);
  const search = new URLSearchParams(set).toString();
  return `#/${path}${search ? `?${search}` : ''}`;
}

/**
 * @param {string[]} parts
 * @param {Record<string, unknown>} [query]
 */
export const go = (parts, query) => {
  location.hash = href(parts, query);
};

/**
 * Changes the query without a new entry in the history.
 * @param {Record<string, unknown>} changes
 */
export function setQuery(changes) {
  const { parts, query } = route.value;
  history.replaceState(null, '', href(parts, { ...query, ...changes }));
  route.value = read();
}
