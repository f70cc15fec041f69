// Settings of jobs as flat lists of JSON pointers.

/** {'/method/beta': 0.3, …} of a settings object; arrays of plain values stay whole. */
export function flat(value, at = '', out = {}) {
  const list = Array.isArray(value);
  if (
    value !== null &&
    typeof value === 'object' &&
    (!list || value.some((v) => typeof v === 'object' && v !== null))
  ) {
    const entries = list ? value.map((v, i) => [i, v]) : Object.entries(value);
    if (entries.length === 0) out[at] = list ? [] : {};
    for (const [key, one] of entries) flat(one, `${at}/${key}`, out);
  } else {
    out[at] = value;
  }
  return out;
}

export const show = (value) => (value === undefined ? '' : typeof value === 'string' ? value : JSON.stringify(value));

/** What several settings disagree on: [[pointer, [value, …]]]. */
export function differences(specs) {
  const all = specs.map((spec) => flat(spec));
  const keys = [...new Set(all.flatMap(Object.keys))];
  return keys
    .map((key) => [key, all.map((one) => one[key])])
    .filter(([, values]) => new Set(values.map(show)).size > 1);
}

/** The settings that a request named: what is left when defaults and recommendations are taken away. */
export function requested(spec, origins) {
  const out = {};
  for (const [pointer, origin] of Object.entries(origins || {})) {
    if (origin !== 'request') continue;
    const path = pointer
      .split('/')
      .slice(1)
      .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
    const value = path.reduce((at, key) => at?.[key], spec);
    if (value !== undefined) assign(out, path, value);
  }
  return { model: spec.model, dataset: spec.dataset, ...out };
}

/** Sets a value deep inside. */
export function assign(target, path, value) {
  const last = path.length - 1;
  path.reduce((at, key, i) => {
    if (i === last) {
      at[key] = value;
      return at;
    }
    at[key] ??= {};
    return at[key];
  }, target);
  return target;
}
