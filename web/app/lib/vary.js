// Several values for a setting: a sweep instead of a job.
import { assign, keysOf, show, unset } from './settings.js';
import { kindsOf, typed } from './typed.js';

/**
 * The varied settings: pointer -> values.
 * @typedef {Record<string, unknown[]>} Grid
 * @typedef {import('./schema.js').Schema} Schema
 */

/** What stands for “no value”. */
export const NONE = 'none';

/**
 * Settings that say nothing of what a job does, or that a sweep gives each job itself.
 */
const SAME = new Set(['/name', '/tags', '/project', '/after', '/not_before', '/priority']);

/** @param {string} pointer */
export const canVary = (pointer) => !SAME.has(pointer);

/** @param {Grid} grid */
export const jobsOf = (grid) => Object.values(grid).reduce((count, values) => count * values.length, 1);

/**
 * The job of a sweep's first point.
 * @template {object} T
 * @param {T} job
 * @param {Grid} grid
 * @returns {T}
 */
export const firstOf = (job, grid) =>
  Object.entries(grid)
    .filter(([, values]) => values.length > 0)
    .reduce((all, [pointer, [first]]) => assign(all, keysOf(pointer), first), structuredClone(job));

/**
 * Settings without those that a pointer names or holds.
 * @param {Grid} grid
 * @param {string} pointer
 */
export const without = (grid, pointer) =>
  Object.fromEntries(Object.entries(grid).filter(([key]) => key !== pointer && !key.startsWith(`${pointer}/`)));

/**
 * A job without the setting that is varied; model and data set stay, for every job needs them.
 * @template {object} T
 * @param {T} job
 * @param {string} pointer
 */
export const freed = (job, pointer) => (['/model', '/dataset'].includes(pointer) ? job : unset(job, keysOf(pointer)));

/** Kinds whose values are separated by commas. @param {string[]} kinds */
const plain = (kinds) => kinds.includes('number') || kinds.includes('integer');

/**
 * Several values as a person writes them: numbers with commas, texts one a line, the rest as a JSON list.
 * @param {unknown[]} values
 * @param {Schema} known
 */
export function listText(values, known) {
  const kinds = kindsOf(known, values[0]);
  const words = values.map((value) => (value === null ? NONE : show(value)));
  if (plain(kinds)) return words.join(', ');
  const lines = kinds.includes('string') && words.every((word) => word.trim() === word && /^[^[\n][^\n]*$/.test(word));
  return lines ? words.join('\n') : JSON.stringify(values);
}

/**
 * What was typed as several values; the counterpart of `listText`.
 * @param {string} text
 * @param {Schema} known
 * @param {unknown} old one value that the setting has had
 * @returns {import('./typed.js').Typed}
 */
export function listOf(text, known, old) {
  const kinds = kindsOf(known, old);
  if (text.trim() === '') return checked([]);
  if (text.trimStart().startsWith('[') || !(plain(kinds) || kinds.includes('string'))) return jsonList(text);
  const pieces = plain(kinds) ? commas(text) : text.split('\n').filter((line) => line.trim() !== '');
  const values = [];
  for (const piece of pieces) {
    if (piece.trim() === '') return { wrong: 'Between two commas is no value.' };
    const found = typed(piece, known, old);
    if (found.wrong !== undefined) return found;
    values.push(found.value);
  }
  return checked(values);
}

/** Without the comma after which the next value is about to be typed. @param {string} text */
const commas = (text) => text.trim().replace(/,$/, '').split(/[,\n]/);

/**
 * @param {string} text
 * @returns {import('./typed.js').Typed}
 */
function jsonList(text) {
  const found = typed(text, { type: 'array' }, []);
  return found.wrong === undefined ? checked(found.value) : found;
}

/**
 * @param {unknown[]} values
 * @returns {import('./typed.js').Typed}
 */
function checked(values) {
  if (values.length === 0) return { wrong: 'Enter at least one value.' };
  const words = values.map(show);
  const twice = words.find((word, i) => words.indexOf(word) < i);
  return twice === undefined ? { value: values } : { wrong: `The value ${twice.slice(0, 80)} is there twice.` };
}
