// What people type into a field, as a value of its kind: understood, or why not.

/**
 * @typedef {import('./schema.js').Schema} Schema
 * @typedef {{ value: any, wrong?: undefined } | { wrong: string, value?: undefined }} Typed
 */

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/**
 * The kinds of value that a setting may have; of one that the document does not describe, the kind that it has.
 * @param {Schema} known
 * @param {unknown} old
 * @returns {string[]}
 */
export function kindsOf(known, old) {
  const named = [known.type ?? []].flat();
  const inner = (known.oneOf ?? known.anyOf ?? []).flatMap((one) => one.type ?? (one.enum ? 'string' : []));
  const kinds = new Set([...named, ...inner]);
  if (kinds.size === 0 || (kinds.size === 1 && kinds.has('null')))
    kinds.add(Array.isArray(old) ? 'array' : old === null ? 'any' : typeof old);
  if (old === null || known.oneOf?.some((one) => one.type === 'null')) kinds.add('null');
  return [...kinds];
}

/**
 * A number, as a person writes it.
 * @param {string} text
 * @param {boolean} [whole]
 * @returns {Typed}
 */
export function numberOf(text, whole = false) {
  const word = text.trim();
  if (word === '') return { wrong: 'Enter a number.' };
  if (/^[+-]?\d+,\d+$/.test(word)) return { wrong: `Write the decimals after a point: ${word.replace(',', '.')}` };
  if (!NUMBER.test(word)) return { wrong: `“${word.slice(0, 80)}” is not a number.` };
  const value = Number(word);
  if (!Number.isFinite(value)) return { wrong: `${word.slice(0, 80)} is too large.` };
  if (whole && !Number.isInteger(value)) return { wrong: `Enter a whole number; ${word.slice(0, 80)} is not one.` };
  if (whole && !Number.isSafeInteger(value))
    return { wrong: `This page can send whole numbers up to ${Number.MAX_SAFE_INTEGER} only.` };
  return { value };
}

/**
 * JSON of one of these kinds.
 * @param {string} text
 * @param {string[]} kinds
 * @returns {Typed}
 */
function jsonOf(text, kinds) {
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { wrong: `Invalid JSON: ${error instanceof Error ? error.message : error}` };
  }
  const kind = value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value;
  if (kinds.includes('any') || kinds.includes(kind)) return { value };
  return { wrong: kinds.includes('array') ? 'Enter a list, such as [1, 2].' : 'Enter an object, such as {"a": 1}.' };
}

/**
 * @param {string} text
 * @param {Schema} known
 * @param {unknown} old
 * @returns {Typed}
 */
export function typed(text, known, old) {
  const kinds = kindsOf(known, old);
  const word = text.trim();
  if (kinds.includes('null') && (word === '' || word === 'null' || word === 'none')) return { value: null };
  if (kinds.includes('number') || kinds.includes('integer')) {
    const found = numberOf(text, !kinds.includes('number'));
    return found.wrong !== undefined && kinds.includes('string') ? { value: text } : found;
  }
  if (kinds.includes('string')) return { value: text };
  return jsonOf(word, kinds);
}
