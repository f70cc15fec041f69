// Settings of jobs as flat lists of JSON pointers.

/**
 * The keys that a pointer names.
 * @param {string} pointer
 */
export const keysOf = (pointer) =>
  pointer
    .split('/')
    .slice(1)
    .map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'));

/**
 * What a pointer leads to, or undefined.
 * @param {object} values
 * @param {string} pointer
 * @returns {any}
 */
export const valueAt = (values, pointer) => keysOf(pointer).reduce((at, key) => at?.[key], /** @type {any} */ (values));

/** @param {string | number} key */
const escaped = (key) => String(key).replaceAll('~', '~0').replaceAll('/', '~1');

/**
 * {'/method/beta': 0.3, …} of a settings object; arrays of plain values stay whole.
 * @param {any} value
 * @param {string} [at]
 * @param {Record<string, any>} [out]
 * @returns {Record<string, any>}
 */
export function flat(value, at = '', out = {}) {
  const list = Array.isArray(value);
  if (
    value !== null &&
    typeof value === 'object' &&
    (!list || value.some((v) => typeof v === 'object' && v !== null))
  ) {
    /** @type {[string | number, any][]} */
    const entries = list ? value.map((v, i) => [i, v]) : Object.entries(value);
    if (entries.length === 0) out[at] = list ? [] : {};
    for (const [key, one] of entries) flat(one, `${at}/${escaped(key)}`, out);
  } else {
    out[at] = value;
  }
  return out;
}

/** @param {unknown} value */
export const show = (value) => (value === undefined ? '' : typeof value === 'string' ? value : JSON.stringify(value));

/**
 * What several settings disagree on: [[pointer, [value, …]]].
 * @param {object[]} specs
 */
export function differences(specs) {
  const all = specs.map((spec) => flat(spec));
  const keys = [...new Set(all.flatMap((one) => Object.keys(one)))];
  return keys
    .map((key) => /** @type {[string, unknown[]]} */ ([key, all.map((one) => one[key])]))
    .filter(([, values]) => new Set(values.map(show)).size > 1);
}

/**
 * The settings that a request named: what is left when defaults and recommendations are taken away.
 * @param {Api['JobSpec']} spec
 * @param {Record<string, string>} origins
 * @returns {Api['JobRequest'] & Record<string, any>}
 */
export function requested(spec, origins) {
  /** @type {Record<string, any>} */
  const out = {};
  for (const [pointer, origin] of Object.entries(origins || {})) {
    if (origin !== 'request') continue;
    const value = valueAt(spec, pointer);
    if (value !== undefined) assign(out, keysOf(pointer), value);
  }
  return { model: spec.model, dataset: spec.dataset, ...out };
}

/**
 * The settings without one of them; what holds nothing any more is gone too.
 * @template {object} T
 * @param {T} settings
 * @param {string[]} path
 * @returns {T}
 */
export function unset(settings, [key, ...inner]) {
  const { [key]: old, ...rest } = /** @type {Record<string, any>} */ (settings);
  const left = inner.length > 0 && old !== null && typeof old === 'object' ? unset(old, inner) : {};
  return /** @type {T} */ (Object.keys(left).length > 0 ? { ...rest, [key]: left } : rest);
}

/**
 * Sets a value deep inside.
 * @template {object} T
 * @param {T} target
 * @param {string[]} path
 * @param {unknown} value
 */
export function assign(target, path, value) {
  const last = path.length - 1;
  path.reduce((/** @type {any} */ at, key, i) => {
    if (i === last) {
      at[key] = value;
      return at;
    }
    at[key] ??= {};
    return at[key];
  }, target);
  return target;
}
