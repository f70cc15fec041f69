// Labels of runs, as people write and read them.

/**
 * A label as a person writes it: `name` or `name: value`.
 * @param {string} text
 * @returns {[name: string, value: string]}
 */
export function tagOf(text) {
  const [name, ...rest] = text.split(':');
  return [name.trim(), rest.join(':').trim()];
}

/** @param {string} name @param {string} value */
export const tagText = (name, value) => (value === '' ? name : `${name}: ${value}`);
